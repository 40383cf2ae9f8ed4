-- Owns: the last step of the installation: the gateway starts, unless it runs already for another database.
-- Runs: once, within "create extension supabase_mcp".
-- Must not: come before anything that could still fail.

select mcp._start();
