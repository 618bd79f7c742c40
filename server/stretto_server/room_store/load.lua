#!lua flags=no-writes
-- Returns what a room holds beside its members.
-- KEYS  room, state, metadata
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing'} end
return {'loaded', redis.call('HMGET', KEYS[1], 'creator', 'revision', 'last'),
  redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
