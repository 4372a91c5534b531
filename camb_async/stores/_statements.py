"""The tables of the PostgreSQL store, and the statements made on them.

The database decides who owns what: a row lock when tasks are claimed, a foreign key
when a worker is gone. All times are those of its clock; what leaves or enters is an
age in seconds, so that the clocks of workers do not matter. Each statement is a
transaction by itself: a worker that is frozen holds no lock (through a PgBouncer, for
ten seconds at the most).
"""

from __future__ import annotations

from typing import Final


#: The version of the tables, and the oldest one whose programs can use them. Columns
#: are only ever added, with defaults, and all statements name theirs.
VERSION: Final = 1
#: Locks out whoever else makes the tables: "CAMB".
SCHEMA_LOCK: Final = 0x43414D42

#: A task that was claimed so often without being polled is a suspect: it is given
#: out with few others of its kind, and from the next time on alone, to a worker that
#: then gets nothing else until they were polled.
SUSPECT_AFTER: Final = 2
#: So few. Of a batch of 250 that one task has made suspects, it takes 16 trials of
#: this size to find the group that it is in, and 16 more to find the task.
SUSPECTS: Final = 16
#: A task that ended so many workers is given to no other one.
PARK_AFTER: Final = 5

SCHEMA: Final = f"""
create table camb_schema(version int not null, oldest int not null);
insert into camb_schema values ({VERSION}, {VERSION});
create table camb_worker(
    id uuid primary key, name text not null, expires timestamptz not null,
    turn int not null default 0);
create table camb_task(
    watch uuid primary key, kind text not null, task_id text not null,
    created timestamptz, context json not null,
    added timestamptz not null default now(), deadline_at timestamptz,
    last_state json, last_at timestamptz, polls int not null default 0,
    seq int not null default 0, attempts int not null default 0,
    owner uuid references camb_worker on delete set null, turn int,
    unique(kind, task_id)) with (fillfactor = 70);
create index camb_task_free on camb_task(added)
    where owner is null and attempts < {SUSPECT_AFTER};
create index camb_task_suspect on camb_task(attempts desc, added)
    where owner is null and attempts >= {SUSPECT_AFTER};
create index camb_task_owner on camb_task(owner) where owner is not null;
create index camb_task_trial on camb_task(owner) where attempts > {SUSPECT_AFTER};
create table camb_dropped(
    watch uuid primary key,
    owner uuid not null references camb_worker on delete cascade);
create index camb_dropped_owner on camb_dropped(owner);
create table camb_event(
    id bigserial primary key, watch uuid not null, seq int not null,
    kind text not null, task_id text not null, created timestamptz,
    context json not null, final bool not null, previous text, state json, error json,
    at timestamptz not null, elapsed float8 not null, uncertainty float8,
    polls int not null, reader uuid references camb_worker on delete set null,
    unique(watch, seq));
create index camb_event_unread on camb_event(id) where reader is null;
create index camb_event_reader on camb_event(reader) where reader is not null;
create index camb_event_task on camb_event(kind, task_id);
"""

IS_MADE: Final = "select to_regclass('camb_schema') is not null"
VERSIONS: Final = "select version, oldest from camb_schema"

# For programs.

ADD: Final = """
with given as (
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
        as given(watch, kind, task_id, created)),
added as (
    insert into camb_task(watch, kind, task_id, created, context, deadline_at)
    select watch, kind, task_id, created, $5::text::json,
        now() + $6::float8 * interval '1 second'
    from given order by kind, task_id
    on conflict (kind, task_id) do nothing returning 1)
select count(*) as added, pg_notify('camb_task', '') from added
"""

DISCARD: Final = """
with gone as (
    delete from camb_task where kind = $1 and task_id = $2 returning watch, owner),
told as (
    insert into camb_dropped(watch, owner)
    select watch, owner from gone where owner is not null),
undelivered as (delete from camb_event where kind = $1 and task_id = $2)
select (select watch from gone) as watch, pg_notify('camb_dropped', '')
"""

#: What was recorded of a watch while it was being discarded, and not seen by that.
UNDELIVERED: Final = "delete from camb_event where watch = $1"

WATCHING: Final = "select count(*) as watching from camb_task"

# For workers.

JOIN: Final = """
insert into camb_worker(id, name, expires)
values ($1, $2, now() + $3::float8 * interval '1 second') on conflict (id) do nothing
"""

# What was dropped is forgotten when its owner says that it has heard of it.
_DROPPED: Final = """
    select watch from camb_dropped where owner = $1 and watch <> all($2::uuid[])
"""
_HEARD: Final = """
    delete from camb_dropped where owner = $1 and watch = any($2::uuid[])
"""

BEAT: Final = f"""
with heard as ({_HEARD}),
alive as (
    update camb_worker set expires = now() + $3::float8 * interval '1 second'
    where id = $1 returning 1)
select exists (select from alive) as alive, array({_DROPPED}) as dropped
"""

DROPPED: Final = f"with heard as ({_HEARD}) {_DROPPED}"

#: Ends a turn whose answer was lost: it is over, or what it is to do is not done.
#: Otherwise it could still be under way in the server, and come to light later.
END_TURN: Final = "update camb_worker set turn = $2 where id = $1 and turn < $2"

_TASK: Final = """
    watch, kind, task_id, created, context::text, polls, seq, attempts,
    last_state::text, extract(epoch from now() - added)::float8 as age,
    extract(epoch from now() - last_at)::float8 as last_age,
    extract(epoch from deadline_at - now())::float8 as seconds_left
"""

CLAIM: Final = f"""
with trial as (
    select from camb_task where owner = $1 and attempts > {SUSPECT_AFTER} limit 1),
suspects as (
    select from camb_task where owner is null and attempts >= {SUSPECT_AFTER}
        and attempts < {PARK_AFTER} limit 1),
free as (
    select watch from camb_task
    where owner is null and attempts < {SUSPECT_AFTER}
        and not exists (select from trial)
        and not ($4::bool and exists (select from suspects))
    order by added limit $2 for update skip locked),
suspect as (
    select watch from camb_task
    where owner is null and attempts > {SUSPECT_AFTER} and attempts < {PARK_AFTER}
        and not exists (select from trial) and not exists (select from free)
    order by attempts desc, added limit 1 for update skip locked),
suspected as (
    select watch from camb_task
    where owner is null and attempts = {SUSPECT_AFTER}
        and not exists (select from trial) and not exists (select from free)
        and not exists (select from suspect)
    order by added limit least($2, {SUSPECTS}) for update skip locked),
chosen as (
    select watch from free union all select watch from suspect
    union all select watch from suspected),
turn as (
    update camb_worker set turn = $3
    where id = $1 and turn < $3 and exists (select from chosen) returning id),
claimed as (
    update camb_task task set owner = turn.id, turn = $3, attempts = attempts + 1
    from chosen, turn where task.watch = chosen.watch returning task.*)
select {_TASK} from claimed order by added
"""

#: What a claim has claimed whose answer was lost.
CLAIMED: Final = f"select {_TASK} from camb_task where owner = $1 and turn = $2"

RECORD: Final = """
with given as (
    select * from unnest(
        $2::uuid[], $3::int[], $4::bool[], $5::text[], $6::text[], $7::text[],
        $8::float8[], $9::float8[], $10::float8[], $11::int[]) with ordinality
    as given(watch, seq, final, previous, state, error,
        age, elapsed, uncertainty, polls, place)),
held as (
    select watch, kind, task_id, created, context, seq from camb_task
    where owner = $1 and watch = any($2::uuid[]) for update),
fresh as (
    select given.*, held.kind, held.task_id, held.created, held.context,
        now() - given.age * interval '1 second' as at
    from given join held using (watch) where given.seq > held.seq),
last as (select distinct on (watch) * from fresh order by watch, seq desc),
advanced as (
    update camb_task task set last_state = last.state::json, last_at = last.at,
        polls = last.polls, seq = last.seq, attempts = 0
    from last where task.watch = last.watch and not last.final),
ended as (
    delete from camb_task task using last where task.watch = last.watch and last.final),
told as (
    insert into camb_event(watch, seq, kind, task_id, created, context, final,
        previous, state, error, at, elapsed, uncertainty, polls)
    select watch, seq, kind, task_id, created, context, final, previous,
        state::json, error::json, at, elapsed, uncertainty, polls
    from fresh order by place)
select watch, pg_notify('camb_event', '') from held
"""

#: Whoever has them now: a worker that lives on has polled them. It waits for nobody,
#: so it cannot stand in the way of those that free what another worker holds.
SURVIVED: Final = """
with alive as (select from camb_worker where id = $1),
polled as (
    select watch from camb_task
    where watch = any($2::uuid[]) and attempts > 0 and exists (select from alive)
    for update skip locked),
survived as (
    update camb_task task set attempts = 0 from polled where task.watch = polled.watch)
select exists (select from alive) as alive
"""

RELEASE: Final = """
with given_back as (
    update camb_task set owner = null, attempts = greatest(attempts - 1, 0)
    where owner = $1),
gone as (delete from camb_worker where id = $1)
select pg_notify('camb_task', ''), pg_notify('camb_event', '')
"""

#: Frees what dead workers hold, by the foreign key, and parks what ended too many.
#: The status is looked for as text, since the server may not be able to read the rest:
#: the service's own words may hold a NUL, and that must not keep the dead alive.
REAP: Final = f"""
with dead as (
    delete from camb_worker where id in (
        select id from camb_worker where expires < now() for update skip locked)
    returning 1),
parked as (
    delete from camb_task where watch in (
        select watch from camb_task
        where owner is null and attempts >= {PARK_AFTER}
        limit 100 for update skip locked)
    returning *),
told as (
    insert into camb_event(watch, seq, kind, task_id, created, context, final,
        previous, state, error, at, elapsed, uncertainty, polls)
    select watch, seq + 1, kind, task_id, created, context, true,
        substring(last_state::text from '"status": "([A-Z_]+)"'), last_state,
        json_build_object(
            'class', 'TaskParkedError', 'message', format($1::text, task_id, attempts),
            'fields', '{{}}'::json, 'notes', '[]'::json),
        now(), extract(epoch from now() - added), null, polls
    from parked returning 1)
select (select count(*) from dead) as dead, (select count(*) from told) as parked,
    case when exists (select from dead) then pg_notify('camb_task', '') end,
    case when exists (select from dead) or exists (select from told)
        then pg_notify('camb_event', '') end
"""

# For readers.

_EVENT: Final = """
    id, watch, seq, kind, task_id, created, context::text, previous, state::text,
    error::text, at, elapsed, uncertainty, polls
"""

#: A reader that is dead is told so by the foreign key.
DELIVER: Final = f"""
with unread as (
    select id from camb_event where reader is null
    order by id limit $2 for update skip locked),
turn as (
    update camb_worker set turn = $3
    where id = $1 and turn < $3 and exists (select from unread) returning 1),
taken as (
    update camb_event event set reader = $1
    from unread where event.id = unread.id and (
        exists (select from turn)
        or not exists (select from camb_worker where id = $1))
    returning event.*)
select {_EVENT} from taken order by id
"""

#: What a reader has been given, an answer that was lost included.
GIVEN: Final = f"select {_EVENT} from camb_event where reader = $1 order by id"

ACK: Final = """
delete from camb_event event using unnest($1::uuid[], $2::int[]) as done(watch, seq)
where event.watch = done.watch and event.seq = done.seq
"""
