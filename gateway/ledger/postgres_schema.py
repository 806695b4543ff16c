"""The tables and functions of the ledger in PostgreSQL, in the schema ``wan_gateway``."""

from collections.abc import Sequence
from typing import Any

from gateway.ledger.errors import database_error
from gateway.ledger.rows import EDIT_COLUMNS, TASK_COLUMNS

OLDEST_SERVER = 13
VERSION = 1
OLDEST_GATEWAY = 1
"""The oldest version of a gateway that can work with these tables: raise it to contract."""

_LOCK = 0x77616E67  # "wang": one node migrates at a time

_TABLES = """
CREATE TABLE wan_gateway.meta (version integer NOT NULL, oldest_gateway integer NOT NULL);

CREATE TABLE wan_gateway.leases (
    name text PRIMARY KEY,
    holder text NOT NULL DEFAULT '',
    node text NOT NULL DEFAULT '',
    until timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE wan_gateway.nodes (
    node text PRIMARY KEY,
    token text NOT NULL,
    url text NOT NULL,
    version text NOT NULL,
    config text NOT NULL,
    takes boolean NOT NULL,
    seen timestamptz NOT NULL
);

CREATE TABLE wan_gateway.edits (
    edit_id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    tenant text NOT NULL,
    region text NOT NULL,
    digest text NOT NULL,
    prompt_digest text NOT NULL,
    model text NOT NULL,
    n integer NOT NULL,
    response_format text NOT NULL,
    output_format text NOT NULL,
    created double precision NOT NULL,
    state text NOT NULL,
    idempotency_key text,
    ignored text NOT NULL,
    adjusted text NOT NULL,
    compression integer,
    scale_to text,
    composite boolean NOT NULL,
    delivered boolean NOT NULL,
    promised boolean NOT NULL,
    error_code text,
    error_message text,
    error_kind text,
    error_retry boolean NOT NULL,
    prompt_forms text NOT NULL,
    born timestamptz NOT NULL,
    delivered_at timestamptz
) WITH (fillfactor = 70);

CREATE TABLE wan_gateway.tasks (
    edit_id text NOT NULL,
    part integer NOT NULL,
    n integer NOT NULL,
    upstream text NOT NULL,
    account text NOT NULL,
    state text NOT NULL,
    intended_at double precision NOT NULL,
    seed bigint,
    task_id text,
    outcome text,
    key_id text,
    base_url text,
    attempt text NOT NULL,
    PRIMARY KEY (edit_id, part)
) WITH (fillfactor = 70);

CREATE TABLE wan_gateway.strays (
    attempt text PRIMARY KEY,
    edit_id text NOT NULL,
    part integer NOT NULL,
    upstream text NOT NULL,
    task_id text NOT NULL,
    seen timestamptz NOT NULL
);

CREATE TABLE wan_gateway.mask_sources (
    edit_id text PRIMARY KEY,
    content bytea NOT NULL,
    stored timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE wan_gateway.promised_edits (
    edit_id text PRIMARY KEY,
    content bytea NOT NULL,
    stored timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE wan_gateway.result_urls (
    edit_id text NOT NULL,
    part integer NOT NULL,
    content bytea NOT NULL,
    stored timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (edit_id, part)
);
ALTER TABLE wan_gateway.mask_sources ALTER COLUMN content SET STORAGE EXTERNAL;
ALTER TABLE wan_gateway.promised_edits ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE INDEX edits_by_age ON wan_gateway.edits (born) WHERE state <> 'open';
CREATE INDEX edits_by_key ON wan_gateway.edits (tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX edits_by_content ON wan_gateway.edits (tenant, digest);
CREATE INDEX edits_owed ON wan_gateway.edits (created) WHERE state = 'open' OR NOT delivered;
CREATE INDEX tasks_by_id ON wan_gateway.tasks (task_id) WHERE task_id IS NOT NULL;
CREATE UNIQUE INDEX task_of_one_part ON wan_gateway.tasks (account, task_id)
    WHERE task_id IS NOT NULL AND left(task_id, 8) <> 'request-';
CREATE INDEX strays_by_part ON wan_gateway.strays (edit_id, part);
CREATE INDEX strays_by_task ON wan_gateway.strays (task_id);

-- The engine's clock: by it ages are measured on every node. A test replaces it.
CREATE FUNCTION wan_gateway.now() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT clock_timestamp()';
"""

_SET_EDIT = ", ".join(f"{name} = excluded.{name}" for name in EDIT_COLUMNS if name != "edit_id")
_SET_TASK = ", ".join(f"{name} = excluded.{name}" for name in TASK_COLUMNS)
_EDIT_VALUES = ", ".join(f"e.{name}" for name in EDIT_COLUMNS)
_TASK_VALUES = ", ".join(f"t.{name}" for name in TASK_COLUMNS)

# The lease rows are locked until the commit, so that no other node can take them over in the
# middle of a batch: the batch commits wholly before the takeover, or not at all (D105). Every
# operation is idempotent. Operations about a task name the attempt, so that late ones of an
# earlier holder change nothing.
_WRITE = f"""
CREATE OR REPLACE FUNCTION wan_gateway.write(
    p_holder text, p_names text[], p_batch jsonb
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    op jsonb;
    e wan_gateway.edits;
    t wan_gateway.tasks;
    s wan_gateway.strays;
    v_result text;
    results jsonb := '[]';
BEGIN
    IF (
        SELECT count(*) FROM (
            SELECT 1 FROM wan_gateway.leases
            WHERE name = ANY (p_names) AND holder = p_holder FOR SHARE
        ) AS held
    ) <> cardinality(p_names) THEN
        RETURN '"lost"';
    END IF;
    FOR op IN SELECT value FROM jsonb_array_elements(p_batch) LOOP
        v_result := 'ok';
        e := jsonb_populate_record(NULL::wan_gateway.edits, op -> 'edit');
        t := jsonb_populate_record(NULL::wan_gateway.tasks, op -> 'task');
        CASE op ->> 'op'
        WHEN 'intend' THEN
            INSERT INTO wan_gateway.edits ({", ".join(EDIT_COLUMNS)}, account, born)
            VALUES ({_EDIT_VALUES}, t.account, wan_gateway.now())
            ON CONFLICT (edit_id) DO UPDATE SET {_SET_EDIT}, account = excluded.account
            WHERE edits.state = 'open';
            IF NOT FOUND THEN
                v_result := 'ended';
            ELSE
                SELECT 'found ' || task_id || ' ' || upstream INTO v_result
                FROM wan_gateway.tasks
                WHERE edit_id = t.edit_id AND part = t.part AND task_id IS NOT NULL;
                IF NOT FOUND THEN
                    SELECT * INTO s FROM wan_gateway.strays
                    WHERE edit_id = t.edit_id AND part = t.part AND attempt <> t.attempt
                    ORDER BY (upstream = t.upstream) DESC, seen LIMIT 1;
                    v_result := 'found ' || s.task_id || ' ' || s.upstream;
                    IF s.upstream = t.upstream THEN
                        DELETE FROM wan_gateway.strays WHERE attempt = s.attempt;
                        t.state := 'accepted';
                        t.task_id := s.task_id;
                    END IF;
                    INSERT INTO wan_gateway.tasks ({", ".join(TASK_COLUMNS)})
                    SELECT {_TASK_VALUES} WHERE s.attempt IS NULL OR t.task_id IS NOT NULL
                    ON CONFLICT (edit_id, part) DO UPDATE SET {_SET_TASK}
                    WHERE tasks.task_id IS NULL AND tasks.attempt <> excluded.attempt;
                END IF;
            END IF;
        WHEN 'promise' THEN
            INSERT INTO wan_gateway.edits ({", ".join(EDIT_COLUMNS)}, account, born)
            VALUES ({_EDIT_VALUES}, e.account, wan_gateway.now())
            ON CONFLICT (edit_id) DO UPDATE SET promised = true;
        WHEN 'unpromise' THEN
            UPDATE wan_gateway.edits SET promised = false WHERE edit_id = e.edit_id;
        WHEN 'accept' THEN
            IF left(t.task_id, 8) <> 'request-' AND EXISTS (
                SELECT 1 FROM wan_gateway.tasks AS other JOIN wan_gateway.tasks AS own
                ON own.account = other.account AND own.edit_id = t.edit_id AND own.part = t.part
                WHERE other.task_id = t.task_id
                AND (other.edit_id, other.part) <> (t.edit_id, t.part)
            ) THEN
                v_result := 'taken';
            ELSE
                UPDATE wan_gateway.tasks SET upstream = t.upstream, task_id = t.task_id,
                    state = CASE state WHEN 'ended' THEN 'ended' ELSE 'accepted' END
                WHERE edit_id = t.edit_id AND part = t.part AND attempt = t.attempt;
                IF NOT FOUND THEN
                    v_result := 'stray';
                    PERFORM wan_gateway.stray(op -> 'task');
                END IF;
            END IF;
        WHEN 'void' THEN
            DELETE FROM wan_gateway.tasks WHERE edit_id = t.edit_id AND part = t.part
            AND state = 'submitting' AND attempt = t.attempt;
        WHEN 'end_task' THEN
            UPDATE wan_gateway.tasks SET state = 'ended', outcome = t.outcome
            WHERE edit_id = t.edit_id AND part = t.part AND attempt = t.attempt;
        WHEN 'end_edit' THEN
            UPDATE wan_gateway.edits SET state = e.state,
                error_code = coalesce(e.error_code, error_code),
                error_message = coalesce(e.error_message, error_message),
                error_kind = coalesce(e.error_kind, error_kind),
                error_retry = coalesce(e.error_retry, error_retry)
            WHERE edit_id = e.edit_id;
        WHEN 'drop' THEN
            DELETE FROM wan_gateway.tasks WHERE edit_id = e.edit_id;
            DELETE FROM wan_gateway.edits WHERE edit_id = e.edit_id;
        WHEN 'deliver' THEN
            UPDATE wan_gateway.edits SET delivered = true, delivered_at =
                wan_gateway.now() - make_interval(secs => (op ->> 'ago')::double precision)
            WHERE edit_id = e.edit_id;
        WHEN 'take_over' THEN
            DELETE FROM wan_gateway.edits WHERE state = 'open' AND NOT promised
            AND (account = ANY (p_names) OR '*' = ANY (p_names)) AND NOT EXISTS (
                SELECT 1 FROM wan_gateway.tasks WHERE tasks.edit_id = edits.edit_id
            );
        WHEN 'give' THEN
            UPDATE wan_gateway.leases SET until = '-infinity',
                holder = CASE WHEN (op ->> 'settled')::boolean THEN '' ELSE holder END
            WHERE holder = p_holder;
        WHEN 'purge' THEN
            WITH old AS (
                DELETE FROM wan_gateway.edits WHERE edit_id IN (
                    SELECT edit_id FROM wan_gateway.edits
                    WHERE state <> 'open' AND born <= wan_gateway.now() - interval '24 hours'
                    AND (account = ANY (p_names) OR '*' = ANY (p_names)) ORDER BY born LIMIT 500
                ) RETURNING edit_id
            ), done AS (
                DELETE FROM wan_gateway.tasks WHERE edit_id IN (SELECT edit_id FROM old)
            )
            SELECT count(*)::text FROM old INTO v_result;
            DELETE FROM wan_gateway.strays WHERE seen <= wan_gateway.now() - interval '24 hours';
        END CASE;
        results := results || to_jsonb(coalesce(v_result, 'ok'));
    END LOOP;
    RETURN results;
END $$;

-- Unfenced: who has lost its lease leaves the task that it made to the next owner.
CREATE OR REPLACE FUNCTION wan_gateway.stray(p_task jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO wan_gateway.strays (attempt, edit_id, part, upstream, task_id, seen)
    SELECT attempt, edit_id, part, upstream, task_id, wan_gateway.now()
    FROM jsonb_populate_record(NULL::wan_gateway.tasks, p_task) AS late
    WHERE attempt <> ''
    AND NOT EXISTS (SELECT 1 FROM wan_gateway.tasks WHERE tasks.task_id = late.task_id)
    ON CONFLICT (attempt) DO NOTHING
$$;
"""  # noqa: S608 - our own column names

MIGRATIONS: tuple[str, ...] = (_TABLES + _WRITE,)
"""
One script for each version. Never change a released one: add the next, which may only add
tables, columns and functions. What an older gateway needs is removed one release later, with
OLDEST_GATEWAY raised.
"""


async def prepare(connection: Any, migrations: Sequence[str] = MIGRATIONS) -> None:
    """
    Create or migrate the tables, in the transaction that is open on *connection*.

    Raises:
        LedgerError: the server is too old, or the tables are too new for this gateway.
    """
    number = await connection.fetchval("SELECT current_setting('server_version_num')::integer")
    if number < OLDEST_SERVER * 10_000:
        what = f"the server is PostgreSQL {number // 10_000}"
        raise database_error(what, f"use PostgreSQL {OLDEST_SERVER} or newer")
    if not await _is_current(connection, len(migrations)):
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        await _migrate(connection, migrations)


async def _is_current(connection: Any, newest: int) -> bool:
    """Return whether this gateway can use the tables as they are."""
    version, oldest_gateway = await _versions(connection)
    if oldest_gateway > newest:
        what = (
            f"was migrated by a newer gateway (its tables need version {oldest_gateway}, "
            f"this one knows up to {newest})"
        )
        raise database_error(what, "start that version, or name another database")
    return version >= newest


async def _versions(connection: Any) -> tuple[int, int]:
    """Return the version of the tables and the oldest gateway that may use them; 0 if none."""
    # Not to_regclass: it may not see what another gateway has created in this very moment.
    exists = "FROM pg_tables WHERE schemaname = 'wan_gateway' AND tablename = 'meta'"
    if not await connection.fetchval(f"SELECT EXISTS (SELECT 1 {exists})"):
        return 0, 0
    row = await connection.fetchrow("SELECT version, oldest_gateway FROM wan_gateway.meta")
    return row["version"], row["oldest_gateway"]


async def _migrate(connection: Any, migrations: Sequence[str]) -> None:
    version, _ = await _versions(connection)  # another node may have been quicker
    if version >= len(migrations):
        return
    if version == 0:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS wan_gateway")
    for script in migrations[version:]:
        await connection.execute(script)
    await connection.execute("DELETE FROM wan_gateway.meta")
    await connection.execute(
        "INSERT INTO wan_gateway.meta VALUES ($1, $2)", len(migrations), OLDEST_GATEWAY
    )
