"""Whether a judge can be believed: calls on which any judge should agree, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, TypeAdapter

from api.simulate.judge import Judge, JudgeError

_CALLS = Path(__file__).with_name("judge_check.yaml")


class Pair(BaseModel):
    """good: a call in which the criterion holds. bad: one in which it does not."""

    criterion: str
    good: str
    bad: str


@dataclass
class JudgeCheck:
    """calls: how many were judged. wrong: what it got wrong, in words. let_through: the bad ones that it passed."""

    calls: int
    wrong: Sequence[str]
    let_through: int

    @property
    def passed(self) -> bool:
        return not self.wrong

    def report(self) -> str:
        if self.let_through == self.calls // 2:
            first = "The judge passes every bad call: it says yes to everything. Name another JUDGE_MODEL."
        elif self.wrong:
            first = f"The judge is wrong about {len(self.wrong)} of {self.calls} calls:"
        else:
            first = f"The judge is right about all of {self.calls} calls."
        return "\n".join([first, *(f"    {one}" for one in self.wrong)])


def pairs() -> list[Pair]:
    """Those that come with this project."""
    return TypeAdapter(list[Pair]).validate_python(yaml.safe_load(_CALLS.read_text(encoding="utf-8")))


async def check_judge(judge: Judge, every: Sequence[Pair]) -> JudgeCheck:
    """Have it judge all of them."""
    wrong, let_through = list[str](), 0
    for pair in every:
        for call, due in ((pair.good, True), (pair.bad, False)):
            kind = "good" if due else "bad"
            try:
                [verdict] = await judge.verdicts(call, [pair.criterion])
            except JudgeError as error:
                wrong.append(f'the {kind} call of "{pair.criterion}": {error}')
                continue
            if verdict.passed != due:
                did = "fails" if due else "passes"
                wrong.append(f'it {did} the {kind} call of "{pair.criterion}": {verdict.reason}')
                let_through += not due
    return JudgeCheck(2 * len(every), wrong, let_through)
