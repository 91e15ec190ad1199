"""What the caller hears of what the model wrote."""

import re
import string
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.speech import Speakable, speakable

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Pieces that mean something, alone or together with their neighbours.
PIECES = [
    *"*_~`#-+•>|=:/\\[]()!<.,;?&h5 \n\t\r",
    *["  ", "\n\n", "**", "--", "---", "```", "~~~", "python", "1.", "# ", "- ", "* ", "> ", "|---|:-:|\n"],
    *["http", "ht", "tps", "tp://", "https://", "http://x.y/z", "://", "www", "www.", "ww", "w.", "mailto:"],
    *["<b>", "</b>", "<br/>", "<", "<!--", "-->", "<think>", "</think>", "<script>", "x>", "<b", "a<b"],
    *["[", "](", "][", "](x)", "[^1]", "![", "[a](b (c) \"d\")", "[x] ", "(", ")"],
    *["😀", "👩\u200d🚀", "\ufe0f", "\u20e3", "\u200d", "\u200b", "\x07", "é", "न\u094d\u200d", "好", "。", "me"],
    *["&amp;", "&lt;", "&#", "&", "$", "$$", "$x$", "\\(", "\\)", "\\frac{1}{2}", "^{\\circ}", "{", "}", "\\["],
    *["[1]", "[cite: 1]", "[laughs]", "*sighs*", "【4:0†source】", "【", "】", "⟦system: ", "⟧", "[system:"],
    *["*67", "**21*", "\n- 5", "\n2. ", "`array[1]`", "a@b.c", "<a@b.c>", "A", "°", "~~", "||", "——", "りんご"],
    *["word", " word", "Hello,", "snake_case", "5 * 3", "5*3", "-5", "C#", "°C", "\ud800", "×", "…", "🇩🇪"],
]  # fmt: skip
anything = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.text(max_size=30),
)
plain_words = st.lists(
    st.text(string.ascii_letters + string.digits + "äéß", min_size=1, max_size=9), min_size=1, max_size=8
)


def in_pieces(pieces: list[str]) -> str:
    reader = Speakable()
    return "".join([reader.feed(piece) for piece in pieces] + [reader.end()])


@st.composite
def cut_text(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(anything)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    bounds = [0, *cuts, len(text)]
    return text, [text[a:b] for a, b in pairwise(bounds)]


def forms(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("written", "spoken"), pairs, ids=[repr(pair[0]) for pair in pairs])


@given(cut_text())
@example(("ht<b>tp://x y", ["ht<b>t", "p:/", "/x y"]))
@example(("# > x", ["#", " ", "> x"]))
@example(("://x>", ["://x", ">"]))
@example(("好www.a b", ["好w", "ww.", "a b"]))
@example(("<\ufe0f[(?", ["<", "\ufe0f[", "(?"]))
@example(("https://x.y _* x>", ["https://x.y _* x>"]))
@example(("_*5*3", ["_*5*3"]))
@FEW
def test_the_speech_does_not_depend_on_how_the_text_was_cut(cut: tuple[str, list[str]]) -> None:
    text, pieces = cut
    assert in_pieces(pieces) == speakable(text)
    assert in_pieces(list(text)) == speakable(text)


@given(anything)
@example("ht<b>tp://x")
@example("[h](x)ttps://y")
@example("<<b>b>")
@example("$$_`$$")
@example("<😀https://x|b>")
@FEW
def test_no_notation_reaches_the_ear_even_when_leaving_something_out_joins_two_pieces(text: str) -> None:
    speech = speakable(text)
    assert not re.search(r"`|://|<[A-Za-z/!?]", speech)
    assert "\ufe0f" not in speech
    assert "😀" not in speech
    speech.encode()  # no lone surrogate either


@given(anything)
@FEW
def test_white_space_is_single_and_never_at_an_edge(text: str) -> None:
    speech = speakable(text)
    assert speech == speech.strip()
    assert not re.search(r"[ \n]{2}|[^\S \n]", speech)


@given(plain_words, st.sampled_from([" ", "\n"]))
@FEW
def test_plain_words_are_spoken_as_written(words: list[str], space: str) -> None:
    assert speakable(space.join(words)) == space.join(words)


SPOKEN_TWICE = [
    *["word", "Hello,", "me.", "with", "-5", "21 °C", "well-known", "“So”", "(or so)", "5 < 6", "5 * 3", "C#", "#1"],
    *["1~3", "*67", "x_1", "a <b", "$5", "$x^2$", "Tom &amp; Jerry", "yes -- no", "a|b", "[1]", "[laughs]"],
    *["**bold**", "_soft_", "`code`", "snake_case", "[a link](https://x.y)", "https://x.y/z.", "www.x.y,", "👍🏽"],
    *["\n", "\n\n", "\n# A heading\n", "\n- an item\n", "\n1. one\n", "\n> quoted\n", "\n| a | b |\n|---|---|\n"],
]  # fmt: skip


@given(st.lists(st.sampled_from(SPOKEN_TWICE), max_size=10).map(" ".join))
@FEW
def test_speech_is_left_alone_when_it_is_read_a_second_time(text: str) -> None:
    """For text as models write it. Junk may change once more: `-~-5` gives `--5`, `#://` gives `#`."""
    assert speakable(speakable(text)) == speakable(text)


@given(plain_words)
@FEW
def test_a_word_has_left_when_the_space_after_it_came(words: list[str]) -> None:
    reader = Speakable()
    heard = ""
    for count, word in enumerate(words, 1):
        heard += reader.feed(word + " ")
        assert heard == " ".join(words[:count])


@pytest.mark.parametrize(
    "piece", ["Hello", " there", ",", " 14", ".", " Yes!", " isn't", " so;", " why?", " 好", " नमस्ते"]
)
def test_an_ordinary_piece_leaves_at_once(piece: str) -> None:
    reader = Speakable()
    start = reader.feed("Well,")
    assert start + reader.feed(piece) == "Well," + piece


@forms(
    ("a *", "a"),
    ("a <b", "a"),
    ("a [link](", "a link"),
    ("a ht", "a"),
    ("a www", "a"),
    ("a snake_", "a snake"),
    ("a 1~", "a 1"),
    ("It is [", "It is"),
    ("It is $5", "It is"),
    ("R&", "R"),
    ("at https://x.y/a", "at"),
    ("Options\n- 5 app", "Options"),
    ("a well-", "a well"),
    ("a ![", "a"),
    ("a 1:", "a 1"),
)
def test_what_is_ambiguous_waits_for_the_next_piece(written: str, spoken: str) -> None:
    assert Speakable().feed(written) == spoken


OPENERS = [
    "<b ",
    "[a](",
    "[a](b (",
    "][",
    "[^",
    "<",
    "\n```",
    "\n``` a {",
    "\n|",
    "\n---",
    "\\",
    "*",
    "_",
    "(",
    "!",
    "$x ^",
    "$$\n",
    "\\[",
    "\\(",
    "&",
    "【1",
    "\n- 5",
    "*6",
    "*a",
    "https://",
    ":",
]


@pytest.mark.parametrize("opener", OPENERS)
def test_no_construct_holds_back_more_than_two_thousand_characters(opener: str) -> None:
    """Whatever is still held could be spoken at the end, so the end is where too much would show."""
    for filler in ["a", "a ", " ", "-", "=", "(", "<", "*", "`"]:
        reader = Speakable()
        for piece in [opener, *[filler * 100] * 40]:
            reader.feed(piece)
        assert len(reader.end()) <= 2048, filler


@forms(
    ("**Bold**, *it* and ***both***", "Bold, it and both"),
    ("_soft_ and __hard__ and ~~gone~~", "soft and hard and gone"),
    ("run `ls` or ``ls``", "run ls or ls"),
    ("un*frigging*believable", "unfriggingbelievable"),
    ("**5 apples**", "5 apples"),
    ("all* of it", "all of it"),
    ("this is *important*, *really* so", "this is important, really so"),
    ("*about 5* or *5 apples*", "about 5 or 5 apples"),
)
def test_emphasis_is_not_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(("snake_case_name", "snake_case_name"), ("__init__", "init"), ("_a b_", "a b"), ("नमस्ते_जी", "नमस्ते_जी"))
def test_an_underscore_inside_a_word_stays(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("5 * 3", "5 × 3"),
    ("5*3", "5×3"),
    ("2 * 3 * 4 = 24", "2 × 3 × 4 = 24"),
    ("x * y", "x × y"),
    ("width * height", "width * height"),
    ("(1 + 2) * (3 + 4)", "(1 + 2) × (3 + 4)"),
    ("5 * -3 and 5*-3", "5 × -3 and 5×-3"),
    ("**5 * 3**", "5 × 3"),
    ("2 \\* 3", "2 × 3"),
)
def test_a_product_keeps_its_sign(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("# Title\n\nText", "Title.\nText"),
    ("###### Deep", "Deep"),
    ("a\n  ## B", "a.\nB"),
    ("#1 in C# # 2", "#1 in C# # 2"),
    ("**# Bold**", "Bold"),
    ("- one\n* two\n+ three\n• four", "one,\ntwo,\nthree,\nfour"),
    ("- a\n  - b\n    * c", "a,\nb,\nc"),
    ("1. one\n2. two", "1. one,\n2. two"),
    ("- [ ] open\n- [x] done", "open,\ndone"),
    ("> quoted\n>> twice\n> - item", "quoted\ntwice.\nitem"),
    ("#<b> Title", "Title"),
)
def test_what_marks_a_line_is_not_spoken_but_numbers_are(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("a\n---\nb\n***\nc\n___\nd\n- - -\ne", "a.\nb.\nc.\nd.\ne"),
    ("Title\n=====\ntext", "Title.\ntext"),
    ("yes -- no --- maybe", "yes — no — maybe"),
    ("git --amend", "git --amend"),
    ("-5 to -3, well-known", "-5 to -3, well-known"),
    ("5 - 3 = 2", "5 - 3 = 2"),
    ("—dash–dash", "—dash–dash"),
)
def test_rules_and_double_dashes_are_pauses_and_single_ones_stay(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("| City | Now |\n|:-----|----:|\n| Oslo | -5 |\n", "City, Now.\nOslo, -5"),
    ("a | b\n--- | ---\nc | d", "a, b.\nc, d"),
    ("| a | | c |", "a, c"),
    ("|-|-|\n| Yes. | No |", "Yes. No"),
)
def test_a_table_is_read_cell_by_cell(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("So:\n```python\nprint(1)\n```\nDone", "So:\nprint(1).\nDone"),
    ("~~~\nx\n~~~", "x"),
    ('```js title="a.js" {1}\nx\n```', "x"),
    ("```inline``` code", "inline code"),
    ("``` and so on", "and so on"),
)
def test_a_code_fence_goes_with_its_info_string_and_the_code_stays(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ('see [the docs](https://x.y "Title (new)") now', "see the docs now"),
    ("[a **b** c](d)", "a b c"),
    ("[Foo](https://en.org/Foo_(bar))!", "Foo!"),
    ("![a cat](cat.png) sits", "a cat sits"),
    ("[![badge](b.svg)](c)", "badge"),
    ("[https://x.y](https://x.y) ok", "x.y ok"),
    ("[text][ref] and [alone]", "text and alone"),
    ("so[^1] it is[^note].", "so it is."),
    ("[^1]: A note", "A note"),
    ("[a](b\nc)", "a(b\nc)"),
    ("Wow! [a](b)", "Wow! a"),
)
def test_of_a_link_or_an_image_the_text_is_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("see https://x.y/z.", "see x.y."),
    ("see https://x.y/a--b_c*d~e?f=[1]. Next", "see x.y. Next"),
    ("at HTTP://X.Y, or ftp://a.b; or mailto:a@b.c!", "at X.Y, or a.b; or a@b.c!"),
    ("go to www.x.com/y, then", "go to x.com, then"),
    ("redis://host/0 and foo://bar", "redis host and foo bar"),
    ("here (https://x.y/z), there", "here (x.y), there"),
    ("(see https://en.org/X_(Y)).", "(see en.org)."),
    ("**https://x.y/z**.", "x.y."),
    ("**See https://x.y/z.** Good", "See x.y. Good"),
    ("请看https://x.y/z。谢谢", "请看x.y。谢谢"),
    ("公式サイトはhttps://x.y/です", "公式サイトはx.y です"),
    ("<https://x.y> ok", "x.y ok"),
    ("https://ada:secret@x.y:8000/z", "x.y:8000"),
    ("a ratio 3:4 and 1/2, http and www", "a ratio 3:4 and 1/2, http and www"),
    ("Awww. So sweet", "Awww. So sweet"),
    ("write to a@b.org", "write to a@b.org"),
    ("| https://x.y | b |", "x.y, b"),
)
def test_of_an_address_the_host_is_spoken_and_the_punctuation_after_it_stays(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    ("written", "links"),
    [
        ("See https://x.y/a?b=c#d, or www.x.y/e.", ["https://x.y/a?b=c#d", "https://www.x.y/e"]),
        ("[here](https://x.y/a 'Title') and <mailto:a@b.c>", ["https://x.y/a", "mailto:a@b.c"]),
        ("(https://x.y/X_(Y)) https://x.y/X_(Y)", ["https://x.y/X_(Y)"]),
        ("[call](tel:+49123) ![cat](https://x.y/cat.png)", ["tel:+49123", "https://x.y/cat.png"]),
        ("[a](b) [c](javascript:alert(1)) redis://host a@b.org", []),
        ("https://x.y/" + "a" * 3000, []),
    ],
)
def test_the_whole_addresses_are_there_for_the_page_once_each(written: str, links: list[str]) -> None:
    for pieces in ([written], list(written)):
        reader = Speakable()
        found = [link for piece in pieces if reader.feed(piece) is not None for link in reader.new_links()]
        reader.end()
        assert [*found, *reader.new_links()] == links
        assert reader.new_links() == []


@forms(
    ("<b>bold</b> and <i class='x'>it</i>", "bold and it"),
    ("one<br/>two<br>three", "one two three"),
    ("a <!-- x > y\n- z --> b", "a b"),
    ("5 < 6 and 6 > 5, I <3 it", "5 < 6 and 6 > 5, I <3 it"),
    ("if a <b then", "if a < b then"),
    ("a <b and c> d", "a < b and c> d"),
    ("say <your name> now", "say < your name> now"),
    ("<answer>yes</answer>", "yes"),
    ("<b unclosed\nnext", "< b unclosed\nnext"),
    ("<a " + "x" * 300 + ">", "< a " + "x" * 300 + ">"),
    ("<?xml version='1.0'?><!DOCTYPE html>x", "x"),
)
def test_tags_and_comments_are_left_out_and_comparisons_stay(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@forms(
    ("<think>Secret <b>\n\n</b></think>Hello", "Hello"),
    ("<thinking>a</think></thinking>b", "b"),
    ("<Reasoning effort='high'>a</REASONING >b", "b"),
    ("a<script src='x'>if (1 < 2) {}</script>b<style>p {}</style>c", "abc"),
    ("Hi <think>never closed", "Hi"),
    ("<think/>Hi <thinker>there", "Hi there"),
)
def test_what_the_model_thinks_is_never_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


def test_a_long_thought_is_not_kept() -> None:
    reader = Speakable()
    assert [reader.feed(piece) for piece in ["<think>", *["thought "] * 5000, "</thi", "nk>", "Yes"]][-1] == "Yes"


@forms(
    ("Great 👍🏽! 🇩🇪", "Great!"),
    ("a 👩‍🚀👨‍👩‍👧 b ❤️‍🔥 c", "a b c"),
    ("press 1️⃣ or #️⃣", "press 1 or #"),
    ("✅ done ⚠️ now ⭐", "done now"),
    ("🏴\U000e0067\U000e0062\U000e007f ok", "ok"),
    ("20 °C, 5 €, £3, Foo™ © ½ → ∞", "20 °C, 5 €, £3, Foo™ © ½ → ∞"),
)
def test_emoji_are_left_out_and_signs_stay(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "क्\u200dष",
        "ന്\u200d എന്ന",
        "می\u200cخواهم، نه؟",
        "今日は。元気？",
        "สวัสดีครับ",
        "cafe\u0301 e\u0302tre",
        "Łódź",
        "שָׁלוֹם",
    ],
)
def test_every_script_keeps_its_marks_and_joiners(text: str) -> None:
    assert speakable(text) == text
    assert in_pieces(list(text)) == text


@forms(
    ("1\\. \\[x\\] \\_a\\_ \\# b", "1. x _a_ # b"),
    ("C:\\Users", "C:\\Users"),
    ("line\\\nnext", "line\nnext"),
    ("a\x00b\x07 c\u200bd\ufeff e\xadf\x1b", "ab cd ef"),
    ("h\u200bttps://x.y", "x.y"),
    ("  \n a \t b\u00a0c \r\n\r\n d\u2028e \n ", "a b c.\nd\ne"),
    ("", ""),
    (" \n\t", ""),
)
def test_escapes_and_control_characters_go_and_white_space_is_folded(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


# What must not be lost

# None of these opens anything that is left out, with its words, whatever stands around it.
HARMLESS = "*_~#+-=|>/\\^:;,.!?()\"'%&@°€±×…–—。、 \n"


@given(st.text(st.sampled_from("abWwZ059äßéñ好かनΩ" + HARMLESS), max_size=40))
@example("w.ww.a")
@example("*ab* Z")
@FEW
def test_no_letter_and_no_digit_is_lost_that_is_not_in_notation_an_address_or_a_muted_part(text: str) -> None:
    """Of an address only the host is spoken, and small words in asterisks may be a stage direction."""
    if "www." in text.lower() or "://" in text or re.search(r"\*[^*\n.]+\*", text):
        return
    assert letters(speakable(text)) == letters(text)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


# What a model writes, and what letters the caller hears of it.
KEPT = [
    *[("**Bold** text", "Boldtext"), ("a [link](https://x.y/z1)", "alink"), ("`code_1`", "code1"), ("[1]", "")],
    *[("see [cite: 1, 2]", "see"), ("[laughs]", ""), ("【4:0†source】", ""), ("https://x.y/z1", "xy"), ("x_1", "x1")],
    *[("AT&amp;T", "ATT"), ("<b>tag</b>", "tag"), ("<think>no</think>", ""), ("it[1]", "it"), ("$\\frac{1}{2}$", "12")],
    *[("a < b", "ab"), ("dial *67", "dial67"), ("\n- item 1\n", "item1"), ("\n# Head\n", "Head"), ("$5", "5")],
    *[("\n| a1 | b |\n|---|---|\n", "a1b"), ("⟦system: no⟧", ""), ("\n2. two\n", "2two"), ("me@x.y", "mexy")],
    ("\n```py\nx = 1\n```\n", "x1"),
]  # fmt: skip


@given(st.lists(st.sampled_from(KEPT), max_size=8))
@FEW
def test_of_each_construct_its_words_are_spoken_whatever_stands_beside_it(pieces: list[tuple[str, str]]) -> None:
    written = " ".join(piece for piece, _ in pieces)
    assert letters(speakable(written)) == "".join(kept for _, kept in pieces)


@given(anything)
@FEW
def test_speech_never_has_more_letters_than_the_text(text: str) -> None:
    """So an answer that was spoken as it stands counts as heard to its end."""
    assert len(letters(speakable(text))) <= len(letters(text))


@forms(
    ("1~3 days, ~20 euros, ~/.ssh", "1~3 days, ~20 euros, ~/.ssh"),
    ("dial *67, *100# or *#06#", "dial *67, *100# or *#06#"),
    ("then **21*0123#, please", "then **21*0123#, please"),
    ("press * or # to end", "press * or # to end"),
    ("a 5* hotel, rated 4*", "a 5* hotel, rated 4*"),
    ("2**10 = 2^10, a*b", "2**10 = 2^10, a*b"),
    ("C#, C++, F#, C♯ and B♭, #1", "C#, C++, F#, C♯ and B♭, #1"),
    ("a < b > c, x<=y, 5>3, ->, =>", "a < b > c, x<=y, 5>3, ->, =>"),
    ("> 5 degrees", "> 5 degrees"),
    ("x_1, file_name.txt, john_doe@example.com", "x_1, file_name.txt, john_doe@example.com"),
    ("A|B, a || b", "A|B, a || b"),
    ("±2, 1/2, a+b=c, 50%, R&D, C:\\Users", "±2, 1/2, a+b=c, 50%, R&D, C:\\Users"),
    ("\\*67, snake\\_case, \\~5", "*67, snake_case, ~5"),
)
def test_s1_a_character_with_a_meaning_stays(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("- 5 degrees", "-5 degrees"),
    ("Tonight:\n- 5 degrees\n", "Tonight:\n-5 degrees"),
    ("It changes by\n+ 5 points.\nGood.", "It changes by\n+5 points.\nGood."),
    ("Buy:\n- 5 apples\n- 3 pears", "Buy:\n5 apples,\n3 pears"),
    ("- milk\n- 3 pears", "milk,\n3 pears"),
)
def test_s1_a_minus_before_a_number_stays_but_in_a_list(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("*sighs* Well.", "Well."),
    ("*Sighs* well.", "well."),
    ("Good! *looks at the list* There it is.", "Good! There it is."),
    ("[laughing softly] Yes. [pause] No [chuckles], never.", "Yes. No, never."),
    ("[seufzt] Na gut. *lacht* ja", "Na gut. ja"),
    ("[soupire] Bon. [risas] Vale. [笑] はい", "Bon. Vale. はい"),
    ("This is *important*. *Very* much so.", "This is important. Very much so."),
    ("It is *really* late, *please* call.", "It is really late, please call."),
    ("He *laughs* at it", "He laughs at it"),
    ("[the mayor] was late [sic]", "the mayor was late sic"),
    ("[Name], [optional] name", "Name, optional name"),
)
def test_s4_a_stage_direction_is_not_spoken_and_stressed_words_are(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("In 1889 [1], [2, 3] and [4-6].", "In 1889, and."),
    ("It is[1][12] big.[3] Yes", "It is big. Yes"),
    ("[cite_start]Big[cite: 1, 2] [source: 4] [1†source]", "Big"),
    ("[[1]](https://x.y/a) [1](https://x.y/b) ok", "ok"),
    ("Big \ue200cite\ue202turn0search1\ue201 city", "Big city"),
    ("【3】【重要】明日", "【重要】明日"),
    ("[2024] and [0], [12:30]", "2024 and 0, 12:30"),
    ("`array[1]` is array[i]", "array[1] is array i"),
    ("```\nx[1] = a * b\n```\n[1]", "x[1] = a * b"),
)
def test_s4_a_citation_is_not_spoken_and_an_index_in_code_is(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("⟦system: x\ny⟧ Hi", "Hi"),
    ("[system: the caller is [x] Hi", "Hi"),
    ("[The caller's page sent this data: 5]\nHi", "Hi"),
    ("[The call begins.] Hi", "Hi"),
    ("[The caller ID] is shown", "The caller ID is shown"),
)
def test_s4_a_system_note_is_not_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("21$^\\circ$C and $-5^{\\circ}\\text{C}$", "21 °C and -5 °C"),
    ("$\\frac{1}{2}$, $\\frac{a+b}{2}$, \\frac{3}{4}", "1/2, (a+b)/2, 3/4"),
    ("$x$, $x_1$, $2^{10}$, $E = mc^2$", "x, x_1, 2^10, E = mc^2"),
    ("\\(a \\times b\\) and \\[x \\leq \\pi\\]", "a × b and x ≤ π"),
    ("$$\n\\sqrt{16} = 4\n$$", "√16 = 4"),
    ("$5, $5 and $6, $5-$10, US$ 5, $HOME", "$5, $5 and $6, $5-$10, US$ 5, $HOME"),
    ("$5 + $6 = $11, $1,000.50.", "$5 + $6 = $11, $1,000.50."),
    ("rated $$ or $$$", "rated $$ or $$$"),
    ("Tom &amp; Jerry&#39;s&nbsp;&#x41; &lt;b&gt; R&D &unknown; AT&T", "Tom & Jerry's A < b> R&D &unknown; AT&T"),
)
def test_s5_formulas_and_entities_are_spoken_as_what_they_mean(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("Options:\n- Apple\n- Banana", "Options:\nApple,\nBanana"),
    ("Options\n* Apple!\n* Banana.\n\nWhich one?", "Options.\nApple!\nBanana.\nWhich one?"),
    ("1) one\n2) two\nDone", "1) one,\n2) two.\nDone"),
    ("- (red)\n- “so.”\n- 5%", "(red),\n“so.”\n5%"),
    ("One paragraph\nof two lines\n\nAnother", "One paragraph\nof two lines.\nAnother"),
    ("# Title\r\nText\r\nmore", "Title.\nText\nmore"),
    ("選択肢\n\n- りんご\n- みかん\n\n以上", "選択肢。\nりんご、\nみかん。\n以上"),
)
def test_s6_lines_that_are_no_running_text_are_set_apart(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken


@forms(
    ("Das dauert **1~3 Tage** und kostet ~20 €.", "Das dauert 1~3 Tage und kostet ~20 €."),
    ("Zur Auswahl:\n- Äpfel\n- Birnen\n\nWas darf es sein?", "Zur Auswahl:\nÄpfel,\nBirnen.\nWas darf es sein?"),
    ("Am 3. Mai um 19:30 Uhr, z. B. bei „Müller & Söhne“ [1].", "Am 3. Mai um 19:30 Uhr, z. B. bei „Müller & Söhne“."),
    ("*seufzt* Na gut: 21$^\\circ$C, siehe https://www.straße.de/a.", "Na gut: 21 °C, siehe straße.de."),
    ("L'hôtel « Le 5* » : l'été, c'est **28 °C** !", "L'hôtel « Le 5* » : l'été, c'est 28 °C !"),
    ("Voici :\n1. Pain\n2. Café au lait", "Voici :\n1. Pain,\n2. Café au lait"),
    ("¿Qué tal? ¡*Muy* bien! Marque *67 o #1.", "¿Qué tal? ¡Muy bien! Marque *67 o #1."),
    ("- 5 grados en Ávila [cite: 3].", "-5 grados en Ávila."),
    ("**東京**は今日、晴れです[1]。詳しくはhttps://x.y/a。", "東京は今日、晴れです。詳しくはx.y。"),
    ("1~3日かかります。\n- りんご\n- みかん", "1~3日かかります。\nりんご、\nみかん"),
)
def test_german_french_spanish_and_japanese(written: str, spoken: str) -> None:
    assert speakable(written) == spoken
    assert in_pieces(list(written)) == spoken
