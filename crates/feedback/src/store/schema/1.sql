-- Who saw what and who said what. Rows are added and never changed or deleted.

CREATE TABLE project (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,             -- pair
    created_at     INTEGER NOT NULL           -- milliseconds since 1970, as all times here
) STRICT;

CREATE TABLE prompt (
    id             INTEGER PRIMARY KEY,
    project_id     INTEGER NOT NULL REFERENCES project(id),
    text           TEXT NOT NULL,
    sha256         TEXT NOT NULL,
    split          TEXT NOT NULL,             -- train | heldout
    UNIQUE (project_id, sha256)
) STRICT;

CREATE TABLE response (
    id             INTEGER PRIMARY KEY,
    prompt_id      INTEGER NOT NULL REFERENCES prompt(id),
    text           TEXT NOT NULL,
    sha256         TEXT NOT NULL,
    finished       INTEGER NOT NULL,          -- 1 if it ended by itself
    source         TEXT NOT NULL,             -- the model that wrote it; never shown to annotators
    UNIQUE (prompt_id, sha256, finished)
) STRICT;

CREATE TABLE task (
    id             INTEGER PRIMARY KEY,
    project_id     INTEGER NOT NULL REFERENCES project(id),
    prompt_id      INTEGER NOT NULL REFERENCES prompt(id),
    external_id    TEXT NOT NULL,             -- the caller's name: adding a task twice adds it once
    priority       REAL NOT NULL DEFAULT 0,
    overlap        INTEGER NOT NULL DEFAULT 1,
    created_at     INTEGER NOT NULL,
    UNIQUE (project_id, external_id)
) STRICT;

CREATE TABLE task_item (
    task_id        INTEGER NOT NULL REFERENCES task(id),
    response_id    INTEGER NOT NULL REFERENCES response(id),
    ord            INTEGER NOT NULL,
    PRIMARY KEY (task_id, ord)
) STRICT;

CREATE TABLE annotator (
    id             INTEGER PRIMARY KEY,
    external_id    TEXT NOT NULL UNIQUE,
    role           TEXT NOT NULL,             -- person | simulated
    created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE annotation (
    id             INTEGER PRIMARY KEY,
    task_id        INTEGER NOT NULL REFERENCES task(id),
    annotator_id   INTEGER NOT NULL REFERENCES annotator(id),
    revision       INTEGER NOT NULL DEFAULT 1,
    idem_key       TEXT NOT NULL UNIQUE,      -- saying something twice says it once
    payload_json   TEXT NOT NULL,             -- Judgement
    shown_json     TEXT NOT NULL,             -- ord of the items, in the order they were shown
    submitted_at   INTEGER NOT NULL,
    UNIQUE (task_id, annotator_id, revision)
) STRICT;

CREATE INDEX annotation_by_task ON annotation (task_id);
