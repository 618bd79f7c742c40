-- The journal's first schema. Whatever writes locks the row of its document first, so
-- documents do not wait for each other, and of two writers to one document the second
-- sees what the first one did.
--
-- What people type may hold the character U+0000, which PostgreSQL's text refuses: user
-- ids and snapshots are bytes. In `op`, JSON escapes it.

CREATE TABLE stretto_documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    doc text COLLATE "C" NOT NULL UNIQUE,
    epoch text NOT NULL,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    floor bigint NOT NULL,
    floor_hash bytea NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
) WITH (fillfactor = 50);

-- No foreign keys on the two tables that every edit writes to: nothing but the functions
-- below does, each with the document's row locked, and the check would cost on every edit.
CREATE TABLE stretto_entries (
    document bigint NOT NULL,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    client text NOT NULL,
    seq bigint NOT NULL,
    op text NOT NULL,
    author bytea NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (document, version)
);

CREATE TABLE stretto_clients (
    document bigint NOT NULL,
    client text NOT NULL,
    last_seq bigint NOT NULL,
    last_version bigint NOT NULL,
    author bytea NOT NULL,
    fenced boolean NOT NULL,
    used_ms bigint NOT NULL,
    PRIMARY KEY (document, client)
) WITH (fillfactor = 70);

CREATE TABLE stretto_snapshots (
    document bigint PRIMARY KEY REFERENCES stretto_documents (id) ON DELETE CASCADE,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    content bytea NOT NULL
);

-- Writes entries after version `p_base`, and the records that they leave. The caller has
-- locked the document and checked everything. (In plpgsql, which keeps its plans.)
CREATE FUNCTION stretto_write(
    p_document bigint, p_base bigint, p_clients text[], p_seqs bigint[], p_ops text[],
    p_authors bytea[], p_times bigint[], p_hashes bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stretto_entries (document, version, hash, client, seq, op, author, at_ms)
    SELECT p_document, p_base + b.n, b.hash, b.client, b.seq, b.op, b.author, b.at_ms
    FROM unnest(p_clients, p_seqs, p_ops, p_authors, p_times, p_hashes)
        WITH ORDINALITY AS b (client, seq, op, author, at_ms, hash, n);
    INSERT INTO stretto_clients
        (document, client, last_seq, last_version, author, fenced, used_ms)
    SELECT DISTINCT ON (b.client)
        p_document, b.client, b.seq, p_base + b.n, b.author, false, b.at_ms
    FROM unnest(p_clients, p_seqs, p_authors, p_times)
        WITH ORDINALITY AS b (client, seq, author, at_ms, n)
    ORDER BY b.client, b.n DESC
    ON CONFLICT (document, client) DO UPDATE SET
        last_seq = excluded.last_seq, last_version = excluded.last_version,
        author = excluded.author, used_ms = excluded.used_ms;
END $$;

-- Appends entries after version `p_base` if that is the head: all of them, or none. What
-- a lost race missed comes along.
CREATE FUNCTION stretto_append(
    p_doc text, p_epoch text, p_base bigint, p_base_hash bytea, p_clients text[],
    p_seqs bigint[], p_ops text[], p_authors bytea[], p_times bigint[], p_hashes bytea[],
    OUT outcome text, OUT epoch text, OUT version bigint, OUT hash bytea, OUT floor bigint,
    OUT client text, OUT last_seq bigint, OUT last_version bigint, OUT author bytea,
    OUT fenced boolean,
    OUT versions bigint[], OUT clients text[], OUT seqs bigint[], OUT ops text[],
    OUT authors bytea[], OUT times bigint[], OUT hashes bytea[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    found_document stretto_documents%ROWTYPE;
    added int := cardinality(p_clients);
    stale text;
BEGIN
    SELECT * INTO found_document FROM stretto_documents WHERE doc = p_doc FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'missing';
        RETURN;
    END IF;
    epoch := found_document.epoch;
    version := found_document.version;
    hash := found_document.hash;
    floor := found_document.floor;
    IF found_document.epoch <> p_epoch THEN
        outcome := 'epoch';
        RETURN;
    END IF;
    IF p_base < found_document.floor THEN
        outcome := 'gone';
        RETURN;
    END IF;
    -- (At the same version of another history this database lost its tail, and others wrote.)
    IF p_base <> found_document.version OR p_base_hash <> found_document.hash THEN
        outcome := 'conflict';
        SELECT array_agg(e.version), array_agg(e.client), array_agg(e.seq), array_agg(e.op),
            array_agg(e.author), array_agg(e.at_ms), array_agg(e.hash)
        INTO versions, clients, seqs, ops, authors, times, hashes
        FROM (
            SELECT * FROM stretto_entries
            WHERE document = found_document.id AND version > p_base ORDER BY version
        ) e;
        RETURN;
    END IF;
    SELECT b.client INTO stale
    FROM (
        SELECT client, seq, n, row_number() OVER (PARTITION BY client ORDER BY n) AS nth
        FROM unnest(p_clients, p_seqs) WITH ORDINALITY AS u (client, seq, n)
    ) b
    LEFT JOIN stretto_clients c ON c.document = found_document.id AND c.client = b.client
    WHERE coalesce(c.fenced, false) OR b.seq <> coalesce(c.last_seq, 0) + b.nth
    ORDER BY b.n LIMIT 1;
    IF FOUND THEN
        outcome := 'stale';
        client := stale;
        SELECT c.last_seq, c.last_version, c.author, c.fenced
        INTO last_seq, last_version, author, fenced
        FROM stretto_clients c WHERE c.document = found_document.id AND c.client = stale;
        RETURN;
    END IF;
    outcome := 'appended';
    IF added > 0 THEN
        PERFORM stretto_write(found_document.id, p_base, p_clients, p_seqs, p_ops, p_authors,
            p_times, p_hashes);
        UPDATE stretto_documents
        SET version = p_base + added, hash = p_hashes[added], updated_ms = p_times[added]
        WHERE id = found_document.id;
    END IF;
END $$;

-- Stops a client from committing anything more; returns its last seq.
CREATE FUNCTION stretto_fence(
    p_doc text, p_epoch text, p_client text, p_author bytea, p_at_ms bigint,
    OUT outcome text, OUT epoch text, OUT last_seq bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    found_document stretto_documents%ROWTYPE;
    owner bytea;
BEGIN
    SELECT * INTO found_document FROM stretto_documents WHERE doc = p_doc FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'missing';
        RETURN;
    END IF;
    epoch := found_document.epoch;
    IF found_document.epoch <> p_epoch THEN
        outcome := 'epoch';
        RETURN;
    END IF;
    SELECT c.last_seq, c.author INTO last_seq, owner FROM stretto_clients c
    WHERE c.document = found_document.id AND c.client = p_client;
    IF owner <> p_author THEN
        outcome := 'forbidden';
        RETURN;
    END IF;
    outcome := 'fenced';
    last_seq := coalesce(last_seq, 0);
    INSERT INTO stretto_clients
        (document, client, last_seq, last_version, author, fenced, used_ms)
    VALUES (found_document.id, p_client, 0, 0, p_author, true, p_at_ms)
    ON CONFLICT (document, client) DO UPDATE SET fenced = true, used_ms = excluded.used_ms;
END $$;

-- Forgets entries up to version `p_floor`, but none above the snapshot; returns the head.
CREATE FUNCTION stretto_compact(
    p_doc text, p_epoch text, p_floor bigint,
    OUT outcome text, OUT epoch text, OUT version bigint, OUT hash bytea, OUT floor bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    found_document stretto_documents%ROWTYPE;
    reached bigint;
BEGIN
    SELECT * INTO found_document FROM stretto_documents WHERE doc = p_doc FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'missing';
        RETURN;
    END IF;
    epoch := found_document.epoch;
    version := found_document.version;
    hash := found_document.hash;
    floor := found_document.floor;
    IF found_document.epoch <> p_epoch THEN
        outcome := 'epoch';
        RETURN;
    END IF;
    outcome := 'compacted';
    SELECT least(p_floor, s.version) INTO reached FROM stretto_snapshots s
    WHERE s.document = found_document.id;
    IF NOT FOUND OR reached <= found_document.floor THEN
        RETURN;
    END IF;
    UPDATE stretto_documents d SET floor = e.version, floor_hash = e.hash
    FROM stretto_entries e
    WHERE d.id = found_document.id AND e.document = d.id AND e.version = reached;
    IF NOT FOUND THEN
        outcome := 'damaged';
        RETURN;
    END IF;
    DELETE FROM stretto_entries
    WHERE document = found_document.id AND version <= reached;
    floor := reached;
END $$;

-- Puts another history in the place of the one that there may be. The row stays: whoever
-- waits for it finds the new epoch.
CREATE FUNCTION stretto_replace(
    p_doc text, p_epoch text, p_hash bytea, p_at_ms bigint, p_clients text[], p_seqs bigint[],
    p_ops text[], p_authors bytea[], p_times bigint[], p_hashes bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    added int := cardinality(p_clients);
    replaced bigint;
BEGIN
    INSERT INTO stretto_documents AS d
        (doc, epoch, version, hash, floor, floor_hash, created_ms, updated_ms)
    VALUES (p_doc, p_epoch, added, coalesce(p_hashes[added], p_hash), 0, p_hash, p_at_ms, p_at_ms)
    ON CONFLICT (doc) DO UPDATE SET
        epoch = excluded.epoch, version = excluded.version, hash = excluded.hash, floor = 0,
        floor_hash = excluded.floor_hash, updated_ms = excluded.updated_ms
    RETURNING d.id INTO replaced;
    DELETE FROM stretto_entries WHERE document = replaced;
    DELETE FROM stretto_clients WHERE document = replaced;
    DELETE FROM stretto_snapshots WHERE document = replaced;
    PERFORM stretto_write(replaced, 0, p_clients, p_seqs, p_ops, p_authors, p_times, p_hashes);
END $$;

-- Deletes a document with all it has; tells whether there was something to delete.
CREATE FUNCTION stretto_delete(p_doc text, p_epoch text, p_unless_written boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    deleted bigint;
BEGIN
    DELETE FROM stretto_documents d
    WHERE d.doc = p_doc AND (p_epoch IS NULL OR d.epoch = p_epoch)
        AND (NOT p_unless_written OR d.version = 0)
    RETURNING d.id INTO deleted;
    DELETE FROM stretto_entries WHERE document = deleted;
    DELETE FROM stretto_clients WHERE document = deleted;
    RETURN deleted IS NOT NULL;
END $$;
