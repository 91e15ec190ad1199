"""Model text in, speakable text out, while it streams.

Two stages. `Speakable` reads what the model wrote and takes the notation away: Markdown, tags, TeX, emoji, citations,
stage directions. `Prose` is the last thing before the caller: it sees only what is left, so that an address or a
bullet made of two pieces (`ht<b>tp://`) is noticed there. It owns all white space and the pauses.

What the caller hears:

- A character with a meaning stays as it is (`1~3`, `*67`, `x_1`, `C++`, `a < b`): synthesisers read it in their own
  language. A product gets its sign: `5 * 3` is `5 × 3`. `- 5` is minus five, but for a line of a list.
- Of an address the host's name is spoken; the whole address is in `new_links()`, for the caller's page.
- Between list items, table rows, headings and paragraphs there is a comma or a full stop, where there was none.
- Not spoken: citations (`[1]`, `[cite: 1]`, `【4:0†source】`), system notes, and stage directions. These are one to six
  words in *single asterisks* or [brackets] where a sentence could begin, with a small first letter, and after them
  the line ends or a sentence begins; or well-known ones (`[laughs]`), in brackets anywhere, in asterisks where a
  sentence could begin. Other words in asterisks or brackets are spoken. In `code`, brackets are: `array[1]`.

Where this departs from a Markdown parser, and why:

- Emphasis is not paired further than 80 characters ahead: the text after a `*` is spoken before its partner comes.
- Held back is only what the next characters can change, at most about 2 kB. Beyond that it is read as text.
- What `<think>` and its like, a comment or a system note opens is dropped to its end, or to the end of the answer.

Each decision depends on the characters so far, never on how they were cut. A pattern keeps that promise by its
branch `more`: what is still incomplete at the end of the buffer. It excludes the other branches.
"""

from agent.speech.notation import Speakable, speakable

__all__ = ["Speakable", "speakable"]
