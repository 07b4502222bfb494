"""SQL: the tables of a store, and filters as conditions on them. It opens no file.

The schema repeats the fields of a dead letter on purpose. Stores with these columns exist, so a change needs
a new version and a migration.
"""

from dataclasses import fields
from typing import Final

from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.parse import CollectedLetter

APPLICATION_ID: Final = 0x6E73716B
VERSION: Final = 1
COLUMNS: Final = tuple(each.name for each in fields(CollectedLetter))
"""The columns that hold a dead letter; the others are about the store and replays."""
SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dead_topic TEXT NOT NULL,
    nsqd TEXT NOT NULL,
    dead_message_id TEXT NOT NULL,
    dead_timestamp_ns INTEGER NOT NULL,
    is_record INTEGER NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    error_type TEXT NOT NULL,
    stack TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    published_at TEXT NOT NULL,
    dead_at TEXT NOT NULL,
    topic TEXT NOT NULL,
    channel TEXT NOT NULL,
    handler TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_id TEXT,
    traceparent TEXT,
    nsqkit_version TEXT NOT NULL,
    replays INTEGER NOT NULL DEFAULT 0,
    replayed_at TEXT,
    UNIQUE (dead_topic, nsqd, dead_message_id, dead_timestamp_ns)
);
CREATE INDEX IF NOT EXISTS letters_by_time ON letters (dead_at);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


def condition(filters: Filters) -> tuple[str, list[object]]:
    """Return filters as an SQL condition, and the values of its placeholders."""
    parts, values = ["1"], list[object]()
    for each in filters.conditions:
        if each.is_whole:
            parts.append(f"{each.attribute} = ?")
            values.append(each.text)
        else:
            parts.append(f"instr(lower({each.attribute}), lower(?))")
            values.append(each.text)
    if filters.since is not None:
        parts.append("dead_at >= ?")
        values.append(filters.since)
    if filters.before is not None:
        parts.append("dead_at < ?")
        values.append(filters.before)
    if filters.ids:
        parts.append(f"id IN ({', '.join(str(int(number)) for number in filters.ids)})")
    if filters.is_fresh:
        parts.append("replays = 0")
    return " AND ".join(parts), values
