"""docs/audit.md and README's section on the trail: their queries run as written, as an auditor, on a real trail, and the columns are those of mcp.audit."""

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.caller import Caller, token_caller
from harness.cluster import Cluster, as_server, pg_config
from harness.clients import bearer
from harness.waits import wait_until

SHOP = """
create schema shop;
create table shop.products (id int primary key, name text not null unique, price numeric(8, 2) not null check (price > 0));
insert into shop.products values (1, 'Red Lamp', 74.50), (2, 'Oak Chair', 120), (3, 'Red Kite', 12.40);
create table shop.orders (id int primary key generated always as identity, product_id int not null references shop.products, quantity int not null);
insert into shop.orders (product_id, quantity) select 1 + n % 3, 1 + n % 4 from generate_series(0, 39) n;
create table shop.payment_cards (customer text primary key, number text not null);
create function shop.pay(customer text, card text) returns text language sql as $$ insert into shop.payment_cards values (customer, card) returning 'paid' $$;
create role auditor login;
"""


def agent(site, name, **options):
    named = "".join(f", {option} => %({option})s" for option in options)
    return Caller(site, bearer(site.value(f"select token from mcp.create_agent('{name}', schemas => '{{shop}}'{named})", options)))


def fill(site):
    """Some minutes of two agents, and of somebody who has no token."""
    site.sql(SHOP)
    bot = agent(site, "ai_orders", access="write", label="ci-bot")
    ada = agent(site, "ai_reader", label="assistant of Ada")
    site.sql("revoke select on shop.payment_cards from ai_reader; grant execute on function shop.pay to ai_orders")

    assert not ada.sql("select name, price from shop.products where price < $1 order by price", [100]).is_error
    assert not bot.sql("update shop.products set price = 9.90 where name = 'Red Kite'").is_error
    assert not bot.sql("insert into shop.orders (product_id, quantity) values (3, 2), (1, 1); delete from shop.orders where quantity = 4").is_error
    assert bot.sqlstate("delete from shop.orders where id = 1; delete from shop.products where name = 'Red Kite'") == "23503"
    assert ada.sqlstate("delete from shop.orders") == "25006"
    assert ada.sqlstate("select * from shop.payment_cards") == "42501"
    assert "no tool" in ada.tool("apply_migration", {"name": "tidy_up", "query": "drop table shop.orders"}).protocol_error["message"]
    stranger = Caller(site, bearer("mcp_" + 43 * "0"))
    for _ in range(3):
        assert stranger.rpc("tools/list").status == 401
    with ThreadPoolExecutor(1) as other:
        # Its process is ended while it waits.
        lost = other.submit(bot.sql, "update shop.products set price = price * 1.1; select pg_sleep(30)")
        wait_until(lambda: site.sql("select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'pg_sleep' and wait_event = 'PgSleep'"), 20, "the call sleeps")
        assert lost.result().error["kind"] == "terminated"
    wait_until(lambda: site.value("select sum(times) = 3 from mcp.audit where method = 'login'")
               and site.value("select count(*) = 1 from mcp.audit where outcome = 'terminated'"), 20, "all is recorded")
    for caller in (bot, ada, stranger):
        caller.close()


# ---- the pages
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text()
README = re.search(r"^## Who did what\n.*?(?=^## )", (ROOT / "README.md").read_text(), re.M | re.S)[0]
# What differs from one session to the next. All else that is printed must be as it was printed.
VOLATILE = {"id", "rows", "seals", "last_seal", "unsealed_rows"}


def blocks(text, language="sql"):
    """(code, what is printed under it, or None)."""
    return re.findall(rf"^```{language}\n(.*?)^```\n(?:```\n(.*?)^```)?", text, re.M | re.S)


BY_SUPERUSER = [code for code, _ in blocks(PAGE) if code.startswith("-- as a superuser\n")]
QUERIES = [(code, printed) for code, printed in (*blocks(README), *blocks(PAGE)) if code not in BY_SUPERUSER]


def table(printed):
    """What psql prints: a dict for each row, of the columns that are the same every time."""
    header, _, *rows = printed.strip("\n").split("\n")
    names = [name.strip() for name in header.split("|")]
    assert rows[-1].startswith("("), printed
    return [{name: cell.strip() for name, cell in zip(names, row.split("|"), strict=True) if name not in VOLATILE} for row in rows[:-1]]


def place(site):
    """Where the programs of the page connect to, as an auditor."""
    return {"PATH": f"{pg_config('bindir')}:{os.environ['PATH']}", "PGHOST": str(site.folder), "PGUSER": "auditor", "PGDATABASE": "postgres"}


def psql(site, code, user="auditor"):
    done = as_server([f"{pg_config('bindir')}/psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", str(site.folder), "-U", user, "-d", "postgres"], capture_output=True, input=code)
    assert done.returncode == 0, (code, done.stderr)
    return done.stdout


def run(site, script, folder):
    done = subprocess.run(["sh", "-eu"], input=script, cwd=folder, env=place(site), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    fill(one)
    for code in BY_SUPERUSER:
        psql(one, code, "postgres")
    yield one
    one.remove()


def verdict(site):
    return site.sql("select ok, problem from mcp.audit_verify()")[0]


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_queries(site, number):
    code, printed = QUERIES[number]
    answer = psql(site, code)
    if printed:
        assert table(answer) == table(printed), answer


def test_pages_have_queries_with_their_answers():
    """Or the test above would have nothing to compare."""
    assert [bool(printed) for _, printed in blocks(README)] == [True, True, True]
    assert sum(bool(printed) for _, printed in blocks(PAGE)) == 4 and len(BY_SUPERUSER) == 3
    assert len(README.splitlines()) <= 45


def test_columns(site):
    rows = re.search(r"^\| column \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.M)[1].splitlines()
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    real = site.value("select array_agg(attname::text order by attnum) from pg_attribute where attrelid = 'mcp.audit'::regclass and attnum > 0 and not attisdropped")
    assert named == real


def test_names_of_the_page_exist(site):
    for name in set(re.findall(r"\bmcp\.(\w+)", PAGE + README)):
        assert site.value("select exists (select from pg_class where relnamespace = 'mcp'::regnamespace and relname = %(n)s) or"
                          " exists (select from pg_proc where pronamespace = 'mcp'::regnamespace and proname = %(n)s)", {"n": name}), name
    for name in set(re.findall(r"\bsupabase_mcp\.(audit\w*)", PAGE)):
        with site.connect() as connection:
            connection.execute("load 'supabase_mcp'")
            assert connection.execute("select current_setting('supabase_mcp.' || %s, true)", [name]).fetchone()[0] is not None, name


def test_messages_of_the_page(site):
    """What the trail says while it cannot be written."""
    writer = token_caller(site, "ai_orders", label="refused")
    with site.connect(autocommit=False) as holder:
        holder.execute("select from mcp._audit_head for update")
        error = writer.sql("delete from shop.orders").error
        holder.rollback()
    assert error["sqlstate"] == "58030" and f"*{error['message']}*" in PAGE
    assert site.value("select count(*) from shop.orders") == 32
    wait_until(lambda: not writer.sql("select 1").is_error, 20, "the trail is written again")
    writer.close()


def test_secrets(site):
    writer = token_caller(site, "ai_orders", label="pays")
    assert writer.tool("pay", {"customer": "Ada", "card": "4000123412341234"}).data == {"result": "paid"}
    said = site.value("select arguments from mcp.audit where tool = 'pay'")
    shown = re.search(r"`(\{\"customer\".*?)`", PAGE)[1]
    assert re.sub("#[0-9a-f]{16}", "#", said) == re.sub("#[0-9a-f]{16}", "#", shown)
    assert json.loads(said)["card"] == site.value("select mcp.audit_hash('4000123412341234')")
    writer.close()


def test_seals_outside_of_the_database(site, tmp_path):
    check, compare = (code for code, _ in blocks(PAGE, "sh"))
    reader = token_caller(site, "ai_reader", label="last")
    assert not reader.sql("select 1").is_error
    reader.close()
    wait_until(lambda: site.value("select exists (select from mcp.audit where token_label = 'last')")
               and site.value("select (select last_id from mcp._audit_sealed) = (select last_id from mcp._audit_head)"), 20, "all is sealed")
    lines = run(site, check, tmp_path)
    assert len(lines) == site.value("select count(*) from mcp._audit_seals") and all(re.fullmatch(r"seal \d+, rows \d+ to \d+: fits", line) for line in lines), lines
    shutil.copy(site.log_file, tmp_path / "server.log")
    assert run(site, compare, tmp_path) == []
    # What it is for: a row that was changed.
    true = site.value("select times from mcp._audit where id = 2")
    site.sql("update mcp._audit set times = 1000 where id = 2")
    assert verdict(site) == (False, "row 2 was changed") and "row 2 was changed" in PAGE
    assert run(site, check, tmp_path)[0].endswith("DOES NOT FIT")
    site.sql("update mcp._audit set times = %s where id = 2", [true])
    assert verdict(site) == (True, None)
    # And the newest rows, taken away with everything that knows of them.
    number, first, last, hash = site.sql("select number, first_id, last_id, encode(hash, 'hex') from mcp._audit_seals order by number desc limit 1")[0]
    site.sql(f"update mcp._audit_sealed set (number, last_id, hash) = (select number - 1, first_id - 1, previous from mcp._audit_seals where number = {number});"
             f" delete from mcp._audit where id >= {first}; delete from mcp._audit_seals where number = {number}; update mcp._audit_head set last_id = {first} - 1")
    assert verdict(site) == (True, None)
    assert run(site, compare, tmp_path) == [f"{number} {last} {hash}"]
