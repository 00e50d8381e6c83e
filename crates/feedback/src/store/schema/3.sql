-- Conversations are judged, too; what an answer would tell stands beside what programs want asked first.

ALTER TABLE prompt ADD COLUMN messages_json TEXT;      -- the conversation of which `text` is a transcript, if it is one

ALTER TABLE task ADD COLUMN information REAL NOT NULL DEFAULT 0;  -- orders tasks of one priority

DROP INDEX open_task;
CREATE INDEX open_task ON task (project_id, priority DESC, information DESC, id)
    WHERE is_open = 1 AND gold_json IS NULL;
