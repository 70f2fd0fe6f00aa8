-- Times are milliseconds since 1970 UTC. Lists are JSON.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE labeller (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    role     TEXT NOT NULL CHECK (role IN ('labeller', 'admin')),
    token    BLOB NOT NULL,              -- BLAKE3 of the token in the link; the token itself is nowhere
    enabled  INTEGER NOT NULL DEFAULT 1,
    created  INTEGER NOT NULL,
    revising INTEGER REFERENCES item (id) -- the item whose answer is being changed
) STRICT;

CREATE TABLE session (
    id       INTEGER PRIMARY KEY,
    labeller INTEGER NOT NULL REFERENCES labeller (id),
    secret   BLOB NOT NULL,              -- BLAKE3 of the secret in the cookie
    expires  INTEGER NOT NULL
) STRICT;

CREATE TABLE item (
    id       INTEGER PRIMARY KEY,        -- items are served in this order
    key      TEXT NOT NULL UNIQUE,       -- `item` of the table of judgments
    split    TEXT NOT NULL,              -- `group` there
    prompt   TEXT NOT NULL,              -- list of {role, content, ...}
    answers  TEXT NOT NULL,
    authors  TEXT,
    gold     TEXT,                       -- the known ranks, for a gold item
    judged   INTEGER NOT NULL DEFAULT 0, -- rankings that stand
    file     TEXT NOT NULL,
    row      INTEGER NOT NULL
) STRICT;
CREATE INDEX item_open ON item (id, judged) WHERE gold IS NULL;

-- An item given to a labeller.
CREATE TABLE task (
    labeller INTEGER NOT NULL REFERENCES labeller (id),
    item     INTEGER NOT NULL REFERENCES item (id),
    ref      TEXT NOT NULL UNIQUE,       -- what the page calls it: tells nothing about the item
    shown    TEXT NOT NULL,              -- shown[i] is the place, from 0, of answer i
    started  INTEGER NOT NULL,
    lease    INTEGER,                    -- until when it is kept for the labeller; null once judged
    draft    TEXT,                       -- an unfinished answer
    PRIMARY KEY (labeller, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_lease ON task (item, lease);

CREATE TABLE judgment (
    id         INTEGER PRIMARY KEY,
    labeller   INTEGER NOT NULL REFERENCES labeller (id),
    item       INTEGER NOT NULL REFERENCES item (id),
    nonce      TEXT NOT NULL,            -- of the page it came from: a repeated request is no second answer
    kind       TEXT NOT NULL CHECK (kind IN ('ranking', 'skipped')),
    ranks      TEXT,                     -- ranks[i] of answer i; null where all were rejected without an order, or skipped
    rejected   INTEGER NOT NULL,         -- 1: every answer is bad
    comment    TEXT,                     -- the reason, for a skipped item
    started    INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    seconds    REAL NOT NULL,            -- with the page in view
    superseded INTEGER,                  -- when a later answer took its place
    UNIQUE (labeller, nonce)
) STRICT;
CREATE UNIQUE INDEX judgment_stands ON judgment (labeller, item) WHERE superseded IS NULL;
CREATE INDEX judgment_item ON judgment (item);
