"""The tables, step by step. A step is never changed once released; SQLite and PostgreSQL differ in types alone."""

from __future__ import annotations

# Cursors are given by the one writer inside its transaction, so that a reader that has seen n has seen all before it.
_FIRST = """
CREATE TABLE producers (
  ordinal {serial},
  source TEXT NOT NULL UNIQUE,
  contiguous {integer} NOT NULL,
  highest {integer} NOT NULL,
  seen {real} NOT NULL,
  gone {real},
  beat {real},
  pid {integer},
  host TEXT,
  kernel TEXT,
  started_at TEXT,
  born TEXT,
  pending {integer}
){strict};
CREATE TABLE cards (
  ordinal {serial},
  room TEXT NOT NULL,
  name TEXT NOT NULL,
  newest {integer} NOT NULL,
  number {integer} NOT NULL,
  last {integer} NOT NULL,
  UNIQUE (room, name)
){strict};
CREATE INDEX cards_newest ON cards (newest);
CREATE INDEX cards_last ON cards (last);
CREATE TABLE events (
  cursor {integer} PRIMARY KEY,
  producer {integer} NOT NULL,
  sequence {integer} NOT NULL,
  id TEXT NOT NULL,
  card {integer} NOT NULL,
  attempt {integer} NOT NULL,
  type TEXT NOT NULL,
  received {real} NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (producer, sequence),
  UNIQUE (producer, id)
){strict};
CREATE INDEX events_card ON events (card, cursor);
CREATE TABLE attempts (
  card {integer} NOT NULL,
  attempt {integer} NOT NULL,
  first {integer} NOT NULL,
  source TEXT NOT NULL,
  ended {integer} NOT NULL,
  fold TEXT NOT NULL,
  PRIMARY KEY (card, attempt)
){strict};
CREATE INDEX attempts_running ON attempts (card) WHERE ended = 0;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  scopes TEXT NOT NULL,
  room TEXT,
  created {real} NOT NULL,
  expires {real}
){strict}
"""

# `graves`: deleted cards, and up to which attempt; `passed`: sequences that are settled though no event holds them.
_SECOND = """
CREATE TABLE graves (
  room TEXT NOT NULL,
  name TEXT NOT NULL,
  attempt {integer} NOT NULL,
  cursor {integer} NOT NULL,
  PRIMARY KEY (room, name)
){strict};
CREATE INDEX graves_cursor ON graves (cursor);
CREATE TABLE passed (
  producer {integer} NOT NULL,
  sequence {integer} NOT NULL,
  PRIMARY KEY (producer, sequence)
){strict};
CREATE TABLE room_usage (
  room TEXT PRIMARY KEY,
  events {integer} NOT NULL,
  bytes {integer} NOT NULL
){strict};
INSERT INTO room_usage
  SELECT room, count(*), sum(octet_length(body)) FROM events JOIN cards ON cards.ordinal = events.card GROUP BY room
"""

_STEPS = (_FIRST, _SECOND)
SQLITE = [
    step.format(serial="INTEGER PRIMARY KEY", integer="INTEGER", real="REAL", strict=" STRICT") for step in _STEPS
]
POSTGRES = [
    step.format(
        serial="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", integer="BIGINT", real="DOUBLE PRECISION", strict=""
    )
    for step in _STEPS
]
