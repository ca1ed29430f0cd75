-- Whether the user who asks may run a command; it is not run.
--
-- KEYS  none
-- ARGV  the words of the command
-- Returns  1 or 0; nil where the server cannot say (before Redis 7.0).
--
-- Needs no atomicity: a script is the one way to ask without permission for ACL DRYRUN.

if not redis.acl_check_cmd then
  return false
end
return redis.acl_check_cmd(unpack(ARGV)) and 1 or 0
