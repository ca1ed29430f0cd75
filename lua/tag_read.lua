-- When a tag was last invalidated.
--
-- KEYS  1 tagepoch:{t}
-- Returns  the epoch, "" for never.
--
-- A script, for keys that scripts read are those of whose change the caller's connection is told.

return redis.call('GET', KEYS[1]) or ''
