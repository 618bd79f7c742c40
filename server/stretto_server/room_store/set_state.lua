#!lua
-- Changes the state of a room, tells all nodes and returns its revision.
--
-- KEYS  members, leases, seq, room, state, metadata; rooms, listed
-- ARGV  node, lease and linger in ms, PUBLISH or SPUBLISH, channel, room; the revision that
--       the state must have ('' for any), the most bytes it may take, who makes the room
--       where there is none ('' for nobody); head of the message, head and tail of the event
--       in it; then key, size and JSON of each change ('' removes)

local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]}
local gone = sweep(KEYS[1], KEYS[2], ARGV[1])
tell(KEYS[3], ARGV[4], ARGV[5], ARGV[1], {}, gone)

local exists = redis.call('EXISTS', KEYS[4]) == 1
if not exists and ARGV[9] == '' then return {'missing'} end
local revision = exists and redis.call('HGET', KEYS[4], 'revision') or '0'
if ARGV[7] ~= '' and ARGV[7] ~= revision then return {'conflict', revision} end
if not exists then redis.call('DEL', KEYS[5]) end
local fit, total, bytes = measure(KEYS[5], 13, tonumber(ARGV[8]), KEYS[4], 'state_bytes')
if not fit then return {'large', whole(total)} end

if not exists then
  make(keys, KEYS[7], KEYS[8], ARGV[6], ARGV[9])
  list(KEYS[7], KEYS[8], KEYS[6], ARGV[6], ARGV[9])
end
revision = whole(tonumber(revision) + 1)
change(KEYS[5], 13, KEYS[4], 'state_bytes', bytes)
local event = ARGV[11] .. revision .. ARGV[12]
redis.call('HSET', KEYS[4], 'revision', revision, 'last', event)
redis.pcall(ARGV[4], ARGV[5], ARGV[10] .. revision .. ' ' .. event)
if not exists then redis.call('PEXPIRE', KEYS[4], ARGV[3]) end
live_with(KEYS[4], KEYS[5])
return {'changed', revision}
