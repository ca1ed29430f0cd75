-- Give a lock back.
--
-- KEYS  1 lock:{resource}   2 fence:{resource}:grant (lock_acquire.lua)
-- ARGV  1 token
--       2 nonce: only if the grant is that call's, and nobody has asked for it again since; "": in
--         any case
-- Returns  1 released; 0 it is not this token's, or not this call's: another holds it, or nobody.
--
-- Atomic: between the comparison and the DEL it may end, and become another's. Nothing is
-- published: the DEL tells every connection that has read the key.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder -- no string: its error
end
if holder ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' and redis.pcall('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
