-- People answer through a server: kinds of projects, tokens, leases, revisions, events.

ALTER TABLE project ADD COLUMN settings_json TEXT NOT NULL DEFAULT '{}';   -- Settings

ALTER TABLE prompt ADD COLUMN lang TEXT;

ALTER TABLE task ADD COLUMN gold_json TEXT;            -- Judgement that is certainly right; such a task is asked to all
ALTER TABLE task ADD COLUMN repeats INTEGER REFERENCES task(id);   -- asks again what that one asked
ALTER TABLE task ADD COLUMN is_open INTEGER NOT NULL DEFAULT 1;    -- 0 once enough people answered; follows from annotations

-- What is asked next, at once.
CREATE INDEX open_task ON task (project_id, priority DESC, id) WHERE is_open = 1 AND gold_json IS NULL;
CREATE INDEX gold_task ON task (project_id, id) WHERE gold_json IS NOT NULL;

ALTER TABLE annotator ADD COLUMN token_hash TEXT;      -- SHA-256; nobody who has none can log in
ALTER TABLE annotator ADD COLUMN state TEXT NOT NULL DEFAULT 'active';     -- active | suspended
CREATE UNIQUE INDEX annotator_by_token ON annotator (token_hash);

-- A revision takes the place of those before it: what counts is the last one of a task and annotator.
ALTER TABLE annotation ADD COLUMN status TEXT NOT NULL DEFAULT 'submitted'; -- submitted | draft | skipped | flagged | undone
ALTER TABLE annotation ADD COLUMN opened_at INTEGER;
ALTER TABLE annotation ADD COLUMN active_ms INTEGER;   -- time with the page in sight and not idle
CREATE INDEX annotation_by_annotator ON annotation (annotator_id, id);

-- Who is asked what now. A lease holds a place of a task until it ends; the order of its items stays.
CREATE TABLE lease (
    task_id        INTEGER NOT NULL REFERENCES task(id),
    annotator_id   INTEGER NOT NULL REFERENCES annotator(id),
    shown_json     TEXT NOT NULL,             -- ord of the items, in the order they are shown
    issued_at      INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    PRIMARY KEY (task_id, annotator_id)
) STRICT;

CREATE INDEX lease_by_annotator ON lease (annotator_id, expires_at);

-- What happened besides answers: implicit feedback, and what other programs report.
CREATE TABLE event (
    id             INTEGER PRIMARY KEY,
    project_id     INTEGER NOT NULL REFERENCES project(id),
    annotator_id   INTEGER REFERENCES annotator(id),
    idem_key       TEXT UNIQUE,
    data_json      TEXT NOT NULL,
    received_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX event_by_project ON event (project_id, id);

-- Why an annotation or an annotator isn't used; a decision that is taken back is another row.
CREATE TABLE ruling (
    id             INTEGER PRIMARY KEY,
    annotation_id  INTEGER REFERENCES annotation(id),
    annotator_id   INTEGER REFERENCES annotator(id),
    rule           TEXT NOT NULL,
    verdict        TEXT NOT NULL,             -- drop | flag | suspend | keep
    reason         TEXT NOT NULL,
    ruled_at       INTEGER NOT NULL
) STRICT;

-- What counts of all revisions.
CREATE VIEW standing AS
    SELECT * FROM annotation AS a
    WHERE revision = (SELECT max(revision) FROM annotation AS b
                      WHERE b.task_id = a.task_id AND b.annotator_id = a.annotator_id);

CREATE INDEX ruling_by_subject ON ruling (annotation_id, annotator_id, rule);

-- Of what one rule said of one subject, the newest.
CREATE VIEW ruling_in_force AS
    SELECT * FROM ruling AS a
    WHERE id = (SELECT max(id) FROM ruling AS b
                WHERE b.annotation_id IS a.annotation_id AND b.annotator_id IS a.annotator_id
                  AND b.rule = a.rule);

-- The answers that count: those that stand and that no rule threw out.
CREATE VIEW counted AS
    SELECT * FROM standing AS a
    WHERE status = 'submitted'
      AND NOT EXISTS (SELECT 1 FROM ruling_in_force AS r
                      WHERE r.annotation_id = a.id AND verdict = 'drop')
      AND NOT EXISTS (SELECT 1 FROM ruling_in_force AS r
                      WHERE r.annotation_id IS NULL AND r.annotator_id = a.annotator_id
                        AND verdict = 'suspend');
