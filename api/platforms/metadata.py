"""What a page, the TwiML or a client passes on with a call."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

log = logging.getLogger(__name__)

MAX_METADATA = 16_000  # characters of JSON. What is larger is left out


def within_limit(fields: dict[str, Any]) -> dict[str, Any]:
    """The same, or nothing when it is too large: the caller shall have an answer."""
    if len(json.dumps(fields, ensure_ascii=False)) <= MAX_METADATA:
        return fields
    log.warning("metadata of a call was left out: it is larger than %d characters", MAX_METADATA)
    return {}


Object = Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})]
Metadata = Annotated[Object, AfterValidator(within_limit)]
