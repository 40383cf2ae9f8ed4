"""docs/audit.md and README's section on the trail: their queries run as written, as an auditor, on a real trail, and the columns are those of mcp.audit."""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.caller import Caller
from harness.cluster import Cluster
from harness.clients import bearer
from harness.waits import wait_until

SHOP = """
create schema shop;
create table shop.products (id int primary key, name text not null unique, price numeric(8, 2) not null check (price > 0));
insert into shop.products values (1, 'Red Lamp', 74.50), (2, 'Oak Chair', 120), (3, 'Red Kite', 12.40);
create table shop.orders (id int primary key generated always as identity, product_id int not null references shop.products, quantity int not null);
insert into shop.orders (product_id, quantity) select 1 + n % 3, 1 + n % 4 from generate_series(0, 39) n;
create table shop.payment_cards (customer text primary key, number text not null);
create role auditor login;
grant mcp_auditor to auditor;
"""


def agent(site, name, **options):
    named = "".join(f", {option} => %({option})s" for option in options)
    return Caller(site, bearer(site.value(f"select token from mcp.create_agent('{name}', schemas => '{{shop}}'{named})", options)))


def fill(site):
    """Some minutes of two agents, and of somebody who has no token."""
    site.sql(SHOP)
    bot = agent(site, "ai_orders", access="write", label="ci-bot")
    ada = agent(site, "ai_reader", label="assistant of Ada")
    site.sql("revoke select on shop.payment_cards from ai_reader")

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
    wait_until(lambda: site.value("select max(last_id) from mcp._audit_seals") == site.value("select last_id from mcp._audit_head")
               and site.value("select count(*) = 1 and sum(times) = 3 from mcp.audit where method = 'login'")
               and site.value("select count(*) = 1 from mcp.audit where outcome = 'terminated'"), 20, "all is recorded and sealed")
    for caller in (bot, ada, stranger):
        caller.close()
