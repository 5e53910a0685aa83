"""The yardstick of scripts/bench: a straightforward streaming Python decoder. Reads stdin, writes stdout, loses nothing."""
import base64
import hashlib
import json
import sys
from urllib.parse import unquote

LISTS = ("rules", "ruleVersions", "ruleMessages", "ruleTags", "ruleData", "ruleSelectors", "ruleActions")


def items(encoded):
    decoded = unquote(encoded)
    if not decoded:
        return []
    texts = []
    for item in decoded.split(";"):
        try:
            texts.append(base64.b64decode(item).decode("utf-8", "replace"))
        except ValueError:
            texts.append(item)
    return texts


for line in sys.stdin.buffer:
    event = json.loads(line)
    attack_data = event.get("attackData") or {}
    for name in LISTS:
        if isinstance(attack_data.get(name), str):
            attack_data[name] = items(attack_data[name])
    message = event.get("httpMessage") or {}
    for name, value in message.items():
        if isinstance(value, str):
            message[name] = unquote(value)
    event["akamai"] = {"event_id": hashlib.sha256(line.rstrip(b"\n")).hexdigest()[:32]}
    sys.stdout.write(json.dumps(event) + "\n")
