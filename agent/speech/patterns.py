"""What the notation looks like. In each pattern, `more` is what the next characters can still change."""

from __future__ import annotations

import re

from agent.speech.prose import ADDRESS_STEMS, LATIN

_EMOJI = (
    r"\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0"
    r"\u25fb-\u25fe\u2600-\u266c\u2670-\u2775\u2794-\u27bf\u2934\u2935\u2b05-\u2b55\u3030\u303d\u3297\u3299"
    r"\U0001f000-\U0001faff"
)
# Controls, soft hyphen, zero-width and bidi marks, variation selectors, keycap ring, lone surrogates, flag tags.
_SOUNDLESS = (
    r"\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\u20e3"
    r"\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e01ef"
)
_NOISE = re.compile(
    r"(?P<line>[\x0b\x0c\x85\u2028\u2029])|(?P<blank>[\t\r\xa0\u1680\u2000-\u200a\u202f\u205f\u3000])"
    rf"|(?P<emoji>[{_EMOJI}])|[{_SOUNDLESS}]"
)
_CLEAN = {"line": "\n", "blank": " ", "emoji": "\0"}  # the model's own NUL is soundless, so this one is free
_NOTATION = r"\n\\*_~`\[\]!|<&$【⟦〚\ue200\x00\u200c\u200d-"
PLAIN = re.compile(rf"[^{_NOTATION}]{{1,500}}")
PLAIN_PIECE = re.compile(rf" +|[^ {_NOTATION}]+")  # at the start of a line, where a space may end a marker
# One ordinary word with what may stand around it: nothing in it that either stage would look at twice.
ORDINARY = re.compile(rf" ?(?!(?:{ADDRESS_STEMS})\Z)[{LATIN}]+(?:[,?]|(?<!w)\.)?", re.IGNORECASE)

BLOCK = re.compile(
    r"""(?x)
      (?P<literal> \ + )
    | (?P<more> (?: [|:=\-\ ]{1,300} | > \ ? | \[ (?: [\ xX] \]? )?
                | `{1,2} | ~{1,2} | (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?:\ [^`\n]{0,81})? ) \Z )
    | (?P<rule> (?= [^\n]{0,300} (?: -- | == | \|:?- ) ) [|:=\-\ ]{2,300} (?=\n) )
    | (?P<fence> (?:`{3,9}|~{3,9}) \ {0,3} [^\s`~]{0,40} (?: \ [^`\n]{0,40} [={] [^`\n]{0,40} | \ ? ) (?=\n) )
    | (?P<marker> >(?!\ ?\d) | \[[\ xX]\]\  )
    """
)
# A line "- 5 degrees" with no item after it.
MINUS = re.compile(
    r"""(?x)
      (?P<more> [-+] (?: \  (?: \d [^\n]{0,300} (?: \n \ {0,4} [-+*•]? )? )? )? \Z )
    | (?P<minus> [-+]\ (?= \d [^\n]{0,300} \n \ {0,4} (?! [-+*•]\  ) [^\ ] ) )
    """
)

_TARGET = r"\]\( [^()\n]{0,1000} (?: \([^()\n]{0,200}\) [^()\n]{0,200} ){0,2}"
_FORMULA = r"""\$ (?: -?\d[\d.,]* (?: \ ?[\\^_{+=<>] [^$\n]{0,100} )?
                    | [A-Za-z]{1,3} (?: \ ?[\\^_{+=<>(] [^$\n]{0,100} )? | [\\{^] [^$\n]{0,200} )"""
_DISPLAY = r"\$\$ [\n\\{(\w-] [^$]{0,400}"
_CITED = (
    r"[1-9]\d{0,2} (?: \ ?[,;–-]\ ?[1-9]\d{0,2} ){0,9} | (?i:cite|citation|source|ref) (?: [_:] [^\[\]\n]{0,60} )?"
    r"| \d{1,3} (?: :\d{1,3} )? † [^\[\]\n]{0,60}"
)
_STAGE = (
    r"(?: laugh(?:s|ing|ter)? | chuckl(?:es?|ing) | giggl(?:es?|ing) | sigh(?:s|ing)? | paus(?:es?|ing)"
    r"| cough(?:s|ing)? | gasp(?:s|ing)? | whisper(?:s|ing)? | smil(?:es?|ing) | nod(?:s|ding) | clears\ throat"
    r"| applause | inaudible | lacht | kichert | seufzt | räuspert\ sich | hustet | flüstert | lächelt | nickt"
    r"| rires? | rit | soupire? | tousse | chuchote | sourit | risas? | ríe | suspira | tose | susurra | sonríe"
    r"| 笑い? | ため息 | 溜息 | 咳払い | 拍手 ) (?: \ [^\W\d_]{1,20} ){0,2}"
)
STAGE_WORDS = re.compile(f"(?xi) {_STAGE}")
# Where a sentence could begin.
ASIDE = re.compile(
    r"""(?x)
      (?P<more> (?: \* (?: (?!\*|\ ) [^*\[\]\n.!?:;()\d]{0,60} (?: \*\ {0,3} )? )?
                  | \[ (?: [^*\[\]\n.!?:;()\d]{0,60} (?: \]\ {0,3} )? )? ) \Z )
    | (?P<aside> (?: \* (?!\*|\ ) [^*\[\]\n.!?:;()\d]{1,60} \*(?!\*) | \[ [^*\[\]\n.!?:;()\d]{1,60} \](?![(\[]) )
                 (?= \ {0,3} (?P<next>.|\n) ) )
    """
)
_NOTE = r"""\[(?i: system: | language:\ ?[a-z]{2,3}(?=[\]_-]) )
    | \[ (?: The\ call(?:er\ (?:interrupted|went\ on|says)|er's\ page\ sent|\ begins)
            | Finished\ meanwhile: | The\ system\ was | Summary\ of\ the\ conversation )"""
_ENTITY = r"& (?: \#(?: \d{0,7} | [xX][0-9A-Fa-f]{0,6} ) | [A-Za-z][A-Za-z0-9]{0,24} )"
_AUTOLINK = r"< (?: [A-Za-z][A-Za-z0-9+.-]{1,30}: | [^\s<>@/]{1,64}@ ) [^\s<>]{1,1000}"
_TEX_COMMAND = r"\\[dt]?frac (?:\{[^{}\n]{0,60}\}){2} | \^ \{? \\circ \}? (?![A-Za-z]) | \\times (?![A-Za-z])"
INLINE = re.compile(
    rf"""(?x)
      (?P<more> (?: (?<!\w)! | {_TARGET} (?: \([^()\n]{{0,200}} )? | \] (?: \[[^\[\]\n]{{0,200}} )?
                | \[ [^\[\]\n]{{0,80}} \]? | 【 (?: \d [^】\n]{{0,120}} )?
                | < (?: [A-Za-z/!?] [^<>\n]{{0,199}} )? | {_AUTOLINK}
                | {_ENTITY}? | &\# | \$ -? | {_FORMULA} [\ $]? | {_DISPLAY} \$? | \$\$
                | \\ (?: [A-Za-z]{{1,5}} (?: \{{ [^{{}}\n]{{0,60}} (?: \}}(?: \{{[^{{}}\n]{{0,60}})? )? )? )?
                | \\\( (?:(?!\\\))[^\n]){{0,200}} | \\\[ (?:(?!\\\])[\s\S]){{0,400}}
                | \*{{1,9}} | (?<!\*)\*-? | (?<!\*)\*\ (?: -|[^\W_] )? | (?<=[^\W\d_])\*[^\W\d_]{{1,30}}
                | (?<![\w*])\* (?: [\d\#][^*\n]{{0,80}} \*? | \#?\d[\d*\#]{{0,30}} )
                | (?<![\w*])\*\*\d{{2,3}} (?: \*[\d*]{{0,21}} )? | (?<![\w*])\*\*\d
                | -{{1,99}} | _{{1,99}} | ~{{1,99}} | \|{{1,9}} | `{{1,9}} ) \Z )
    | (?P<link> {_TARGET} \) )
    | (?P<note> {_NOTE} | [⟦〚\ue200] )
    | (?P<left_out> (?<!\w)!\[ | \]\[[^\[\]\n]{{0,200}}\] | \[\^[^\]\n]{{1,60}}\]:? | \[(?:{_CITED})(?=\]\()
                | \[(?:{_CITED})\] | \[(?i:{_STAGE})\](?![(\[])
                | 【(?: \d{{1,3}}(?:[:,]\d{{1,3}})* | \d[^】\n]{{0,60}}†[^】\n]{{0,60}} )】 )
    | (?P<muted> <!-- | <(?i:think|thinking|reasoning|script|style)(?:\ [^<>\n]{{0,180}})?(?<!/)> )
    | (?P<space> </?(?i:br|p|div|li|ul|ol|tr|td|th|h[1-6]|hr)\b[^<>\n]{{0,180}}> )
    | (?P<autolink> {_AUTOLINK} > )
    | (?P<tag> <(?: /?[A-Za-z][\w:.-]{{0,60}} (?: \ [^<>\n=]{{1,60}}=[^<>\n]{{0,180}} )? \ ?/?
                | [!?][^<>\n]{{0,199}} )> )
    | (?P<formula> {_FORMULA} (?<=[^\s$])\$(?!\d) | {_DISPLAY} \$\$ | \\\( (?:(?!\\\))[^\n]){{1,200}} \\\)
                | \\\[ (?:(?!\\\])[\s\S]){{1,400}} \\\] | {_TEX_COMMAND} )
    | (?P<escape> \\[!-/:-@\[-`{{-~] | \\(?=\n) )
    | (?P<entity> {_ENTITY} ; )
    | (?P<dial> (?<![\w*])(?: \*\*\d{{2,3}}\*\d[\d*]{{0,19}}\#
                | \*(?! [\d\#][^*\n]{{0,79}}(?<=[^\s*])\*(?![\d*\#]) ) \#?\d[\d*\#]{{0,30}} ) )
    | (?P<star> \*{{1,9}} )
    | (?P<dashes> -{{2,99}} )
    | (?P<underscores> _{{1,99}} )
    | (?P<strike> ~{{2,99}} )
    | (?P<pipes> \|{{1,9}} )
    | (?P<code> `{{1,9}} )
    | (?P<bracket> [\[\]] )
    | (?P<joiner> [\u200c\u200d] )
    | (?P<emoji> \x00 )
    | (?P<literal> [\s\S] )
    """
)
CODE = re.compile(r"(?P<more>`{1,9}\Z)|(?P<code>`{1,9})|(?P<joiner>[\u200c\u200d])|(?P<emoji>\x00)|(?P<literal>[\s\S])")
# What stands before and after the ` * ` between two things that can be multiplied.
FACTOR_BEFORE = re.compile(r"(?:\d|\)|(?<![^\W_])[^\W\d_])\ \Z")
FACTOR_AFTER = re.compile(r"\ (?:-?\d|\(|[^\W\d_](?![^\W_]))")
EMPHASIS_IN_WORD = re.compile(r"\*[^\W\d_]{2,30}\*")


def without_noise(text: str) -> str:
    """White space made plain, emoji one NUL each, characters without a sound left out."""
    return _NOISE.sub(lambda found: _CLEAN.get(found.lastgroup or "", ""), text)
