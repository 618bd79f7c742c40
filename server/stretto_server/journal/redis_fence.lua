#!lua
-- Stops a client from committing anything more; returns its last seq.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  epoch, client, user, at_ms
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {'missing'} end
if epoch ~= ARGV[1] then return {'epoch', epoch} end
local seq, version, user = '0', '0', ARGV[3]
local record = redis.call('HGET', KEYS[3], ARGV[2])
if record then seq, version, user = string.match(record, '^(%d+) (%d+) %d %d+ (.*)$') end
if not user then return {'damaged', record .. ' is no record'} end
if user ~= ARGV[3] then return {'forbidden'} end
redis.call('HSET', KEYS[3], ARGV[2], seq .. ' ' .. version .. ' 1 ' .. ARGV[4] .. ' ' .. user)
return {'fenced', seq}
