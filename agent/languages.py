"""Fixed lines in the language of a conversation: those of tools and settings, and the product's own.

A language is a tag such as `de` or `pt-BR`, as platforms tell it. A line is a text for every language, or a dictionary
with a text for each: {"en": "One moment.", "de": "Einen Moment."}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from agent.speech import speakable

Texts = str | Mapping[str, str]

_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
_NOT_ONE = ("multi", "mul", "und", "auto")  # what speech recognisers say when they do not know yet

_NAMES = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque",
    "fa": "Persian", "fi": "Finnish", "fil": "Filipino", "fr": "French", "gl": "Galician", "gu": "Gujarati",
    "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic",
    "it": "Italian", "ja": "Japanese", "kn": "Kannada", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "ml": "Malayalam", "mr": "Marathi", "ms": "Malay", "nb": "Norwegian", "nl": "Dutch", "no": "Norwegian",
    "pa": "Punjabi", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip

# The product's own lines, by what they are in English.
_OWN = {
    "Sorry, something went wrong on my side. Please say that again.": {
        "de": "Entschuldigung, bei mir ist etwas schiefgegangen. Bitte sagen Sie das noch einmal.",
        "fr": "Désolé, quelque chose n'a pas fonctionné de mon côté. Pouvez-vous répéter, s'il vous plaît ?",
        "es": "Lo siento, algo ha fallado por mi parte. ¿Puede repetirlo, por favor?",
        "ja": "申し訳ありません、こちらで問題が発生しました。もう一度おっしゃってください。",
    },
    "I have to stop there.": {
        "de": "Hier muss ich leider aufhören.",
        "fr": "Je dois m'arrêter là.",
        "es": "Tengo que parar aquí.",
        "ja": "ここまでとさせていただきます。",
    },
    "One moment.": {"de": "Einen Moment.", "fr": "Un instant.", "es": "Un momento.", "ja": "少々お待ちください。"},
    "Welcome back. What can I do for you?": {
        "de": "Willkommen zurück. Was kann ich für Sie tun?",
        "fr": "Ravi de vous retrouver. Que puis-je faire pour vous ?",
        "es": "Bienvenido de nuevo. ¿En qué puedo ayudarle?",
        "ja": "お帰りなさい。ご用件をどうぞ。",
    },
    "Are you still there?": {
        "de": "Sind Sie noch da?",
        "fr": "Vous êtes toujours là ?",
        "es": "¿Sigue ahí?",
        "ja": "もしもし、聞こえていますか。",
    },
    "I am hanging up now. Goodbye.": {
        "de": "Ich lege jetzt auf. Auf Wiederhören.",
        "fr": "Je vais raccrocher. Au revoir.",
        "es": "Voy a colgar. Adiós.",
        "ja": "それでは電話を切ります。失礼いたします。",
    },
    "That is done.": {
        "de": "Das ist erledigt.",
        "fr": "C'est fait.",
        "es": "Ya está hecho.",
        "ja": "完了しました。",
    },
    "One moment, please.": {
        "de": "Einen Moment, bitte.",
        "fr": "Un instant, s'il vous plaît.",
        "es": "Un momento, por favor.",
        "ja": "少々お待ちください。",
    },
    "Still working on it.": {
        "de": "Ich bin noch dabei.",
        "fr": "J'y travaille encore.",
        "es": "Sigo en ello.",
        "ja": "まだ処理しています。",
    },
    "It takes a little longer, thank you for waiting.": {
        "de": "Es dauert etwas länger, danke für Ihre Geduld.",
        "fr": "Cela prend un peu plus de temps, merci de patienter.",
        "es": "Tarda un poco más, gracias por esperar.",
        "ja": "もう少し時間がかかります。お待ちいただきありがとうございます。",
    },
}


def tag_of(told: object) -> str:
    """A language as somebody tells it (`de_DE`, `en-US`) as a tag; empty for what is none, or not a certain one."""
    tag = told.strip().lower().replace("_", "-") if isinstance(told, str) else ""
    if not _TAG.fullmatch(tag) or tag in _NOT_ONE:
        return ""
    language, *rest = tag.split("-")
    return "-".join([language, *(part.upper() if len(part) == 2 else part for part in rest)])


def known_tag(told: str) -> str:
    """As `tag_of`, of a language that is known by name here; of any other empty."""
    tag = tag_of(told)
    return tag if tag.partition("-")[0] in _NAMES else ""


def in_language(texts: Texts, language: str) -> str:
    """The text for a language, else for the one that it is a kind of, else the English one, else the first."""
    if isinstance(texts, str):
        return texts
    by_tag = {tag.lower(): text for tag, text in texts.items()}
    for tag in (language.lower(), language.lower().partition("-")[0], "en"):
        if tag in by_tag:
            return by_tag[tag]
    return next(iter(by_tag.values()), "")


def own_line(texts: Texts, language: str) -> str:
    """As `in_language`, as it is spoken; the product's own lines are known in several languages."""
    return _spoken(in_language({"en": texts, **_OWN.get(texts, {})} if isinstance(texts, str) else texts, language))


@lru_cache(maxsize=256)
def _spoken(line: str) -> str:
    return speakable(line)


def all_of(texts: Texts) -> list[str]:
    """The text in each language."""
    return [texts] if isinstance(texts, str) else [*texts.values()]


def fault_in(texts: Texts) -> str:
    """What is wrong with a dictionary of texts; empty if nothing is."""
    if isinstance(texts, str):
        return ""
    bad = [tag for tag in texts if not tag_of(tag)]
    if bad:
        return f"{bad[0]!r} is not a language tag such as 'de' or 'pt-BR'"
    return "" if texts else "it has no text"


def told_to_model(prompt: str, language: str, *, ask: str = "") -> str:
    """The prompt, with the language of the conversation if that is known. ask: that of the fixed lines, where the
    platform tells none: the model is to tell it then, if the caller speaks another one."""
    known = [f"The conversation is in {_named(language)}."] if language else []
    if ask:
        example = "fr" if (language or ask).partition("-")[0] == "de" else "de"
        known = known or [f"Fixed lines are spoken in {_named(ask)}."]
        known.append(
            "If the caller speaks another language, begin your answer, also one in which you call a tool, with the tag"
            f" of that language in a mark of its own, which is not spoken. For {_NAMES[example]} that is"
            f" ⟦language: {example}⟧"
        )
    return "\n\n".join([prompt, " ".join(known)]) if known else prompt


def _named(language: str) -> str:
    name = _NAMES.get(language.partition("-")[0])
    return f"{name} ({language})" if name else language
