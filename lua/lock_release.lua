-- Give a lock back.
--
-- KEYS  1 lock:{resource}
-- ARGV  1 token
-- Returns  1 released; 0 it is not this token's: another holds it, or nobody.
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
return redis.call('DEL', KEYS[1])
