#!lua
-- Puts another history in the place of the one that there may be, and tells those who
-- follow the document.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  id, epoch, hash of the empty history, at_ms, PUBLISH or SPUBLISH, channel, frame;
--       then of each entry its client, seq, at_ms, user, JSON and the hash after it
local FIRST, WIDTH = 8, 6
local created = redis.call('HGET', KEYS[1], 'created_ms') or ARGV[4]
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local version, hash = 0, ARGV[3]
for i = FIRST, #ARGV, WIDTH do
  version = version + 1
  hash = ARGV[i + 5]
  redis.call('XADD', KEYS[2], version .. '-0', 'd', ARGV[i + 4], 'h', hash)
  redis.call('HSET', KEYS[3], ARGV[i],
    ARGV[i + 1] .. ' ' .. version .. ' 0 ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'version', version, 'hash', hash, 'floor', '0',
  'floor_hash', ARGV[3], 'created_ms', created, 'updated_ms', ARGV[4])
redis.call('ZADD', KEYS[5], '0', ARGV[1])
redis.pcall(ARGV[5], ARGV[6], ARGV[7])
return {'head', redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor')}
