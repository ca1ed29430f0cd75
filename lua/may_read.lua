-- Which of some keys the user who asks may read; none is read.
--
-- KEYS  none
-- ARGV  the keys
-- Returns  1 or 0 for each; nil where the server cannot say (before Redis 7.0).
--
-- Needs no atomicity: a script is the one way to ask without permission for ACL DRYRUN, and without
-- a refusal in ACL LOG for each.

if not redis.acl_check_cmd then
  return false
end
local may = {}
for i, key in ipairs(ARGV) do
  may[i] = redis.acl_check_cmd('get', key) and 1 or 0
end
return may
