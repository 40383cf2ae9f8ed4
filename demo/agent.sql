-- What a DBA does to let an assistant in: a role, and grants. Nothing else decides what it may see.

create extension supabase_mcp;

create role ai_reader login;
grant usage on schema shop to ai_reader;
grant select on shop.stores, shop.products, shop.orders, shop.order_items to ai_reader;
grant select (id, name, joined) on shop.customers to ai_reader;         -- the names of customers, but no address
                                                                        -- and no grant at all on shop.payment_cards
-- It works for the store in Berlin.
create policy berlin on shop.orders to ai_reader using (store_id = 1);
create policy berlin on shop.order_items to ai_reader using (exists (select from shop.orders o where o.id = order_id));

-- It may use the built-in tools: EXECUTE on their functions, for reading only.
select mcp.grant_tools('ai_reader');
