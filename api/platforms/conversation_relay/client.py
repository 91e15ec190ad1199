"""A phone call as Twilio holds it: the voice webhook, the relay's socket, and the callback after it, all signed.

`wire` has the TwiML beside the frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import httpx

from api.platforms.abilities import RELAY
from api.platforms.client import CallDetails
from api.platforms.network import Network, Socket, Unreachable
from api.platforms.socket_client import SocketClient

_VOICE = "/twilio/voice"
_FRAGMENT = 12  # words of an answer that an interruption reports, at most
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class RelayClient(SocketClient):
    """auth_token: what requests are signed with. public_url: what the server calls itself; None: as it is reached.
    twiml: the server's last answer about the call. session: of the next socket; None: a new one.
    """

    abilities = RELAY

    def __init__(self, network: Network, call: CallDetails, auth_token: str, *, public_url: str | None = None) -> None:
        from twilio.request_validator import RequestValidator

        super().__init__(network, call)
        self.twiml = ""
        self.session: str | None = None
        self.language = "en-US"
        self._validator = RequestValidator(auth_token)
        self._url = (public_url or network.url).rstrip("/")
        self._ended_url = ""
        self._sockets = 0
        self._prompt: dict[str, Any] = {}
        self._running: deque[int] = deque()  # answers whose last frame has not come
        self._began = 0.0

    async def begin(self) -> None:
        await self.connect()
        self._asked()

    async def say(self, text: str) -> None:
        await self._ask({"type": "prompt", "voicePrompt": text, "lang": self.language, "last": True})

    async def duplicate(self) -> None:
        """What Twilio does after a reconnect: a call's socket is opened again, and its last prompt comes once more."""
        await self.connect()
        await self._ask(self._prompt)

    async def interrupt(self, heard: str | None = None) -> None:
        """The last words of what was heard are reported."""
        ms = round((self._loop.time() - self._began) * 1000)
        report = {} if heard is None else {"utteranceUntilInterrupt": " ".join(heard.split()[-_FRAGMENT:])}
        await self.signal({"type": "interrupt", **report, "durationUntilInterruptMs": ms})

    async def signal(self, frame: Mapping[str, Any]) -> None:
        """Send a frame that asks for no answer."""
        runs = self.answers in self._running and not self._is_cut
        await self._send(frame)
        if runs and frame["type"] == "interrupt":
            self._cut()

    async def press(self, digits: str) -> None:
        for digit in digits:
            await self.signal({"type": "dtmf", "digit": digit})
        self.pressed()

    def pressed(self) -> None:
        """The keys that were sent are complete: there will be an answer to them."""
        self._asked()

    async def hang_up(self) -> None:
        await self.drop()
        if self._ended_url:
            await self._after_relay("")

    async def drop(self) -> None:
        self._running.clear()
        await super().drop()

    async def _ask(self, prompt: dict[str, Any]) -> None:
        self._prompt = prompt
        try:
            await self._send(prompt)
            self._asked()
        except Unreachable as error:
            self._emit(self._new_answer(), "failed", str(error))

    def _asked(self) -> None:
        self._running.append(self._new_answer())
        self._began = self._loop.time()

    async def _open(self) -> Socket:
        """Ask for the TwiML, open the socket that it names, and introduce the call there."""
        twiml = await self._post(_VOICE, {})
        relay, connect = twiml.find(".//ConversationRelay"), twiml.find(".//Connect")
        if relay is None or connect is None:
            raise Unreachable("The server's TwiML has no ConversationRelay.")
        self._ended_url = connect.get("action", "")
        url = relay.get("url", "")
        self._sockets += 1
        socket = await self._network.open_socket(urlsplit(url).path, self._signature(url, {}))
        setup = {
            "type": "setup",
            "sessionId": self.session or f"VX{self.call.conversation_id}.{self._sockets}",
            "callSid": self.call.conversation_id,
            "from": self.call.number or "",
            "customParameters": dict(self.call.metadata),
        }
        await self._send(setup, socket)
        return socket

    async def _take(self, frame: dict[str, Any]) -> bool:
        answer = self._running[0] if self._running else self.answers
        match frame:
            case {"type": "text", "token": token, "last": last}:
                self._hear(answer, token, last)
            case {"type": "sendDigits", "digits": digits}:
                self._emit(answer, "control", {"action": "send_dtmf", "value": digits, "reason": ""})
            case {"type": "end"}:
                self._emit(answer, "control", await self._after_relay(frame.get("handoffData", "")))
                return False
        return True

    def _hear(self, answer: int, token: str, last: bool) -> None:
        """An answer that was cut goes on until its last frame, and nobody hears it."""
        is_cut = answer < self.answers or self._is_cut
        if token and not is_cut:
            self._emit(answer, "say", token)
        if last and self._running:
            self._running.popleft()
            if not is_cut:
                self._emit(answer, "end", "complete")

    async def _after_relay(self, handoff: str) -> dict[str, str]:
        """The relay has left the call: what the server wants done with it."""
        try:
            twiml = await self._post(self._ended_url, {"HandoffData": handoff} if handoff else {})
        except Unreachable:
            return {"action": "hang_up", "value": "", "reason": ""}
        dial = twiml.find("Dial")
        number = (dial.text or "") if dial is not None else ""
        return {"action": "transfer" if number else "hang_up", "value": number, "reason": ""}

    async def _post(self, path: str, fields: dict[str, str]) -> ElementTree.Element:
        """A form, answered by TwiML. Unreachable when it is not."""
        form = {"CallSid": self.call.conversation_id, "From": self.call.number or "", **fields}
        self._log("in", {"POST": path, **form})
        headers = self._signature(self._url + path, form)
        try:
            response = await self._network.http.post(path, content=urlencode(form), headers={**_FORM, **headers})
            response.raise_for_status()
            twiml = ElementTree.fromstring(response.text)  # noqa: S314 - the own server's
        except (httpx.HTTPError, ElementTree.ParseError) as error:
            raise Unreachable(f"{path} gives no TwiML ({type(error).__name__}).") from None
        self.twiml = response.text
        self._log("out", self.twiml)
        return twiml

    def _signature(self, url: str, fields: dict[str, str]) -> dict[str, str]:
        return {"X-Twilio-Signature": str(self._validator.compute_signature(url, fields))}
