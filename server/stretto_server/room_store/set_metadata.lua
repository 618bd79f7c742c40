#!lua
-- Replaces keys of a room's metadata, tells all nodes and returns the whole.
--
-- KEYS  members, leases, seq, room, state, metadata; rooms, listed
-- ARGV  node, lease and linger in ms, PUBLISH or SPUBLISH, channel, room; the most bytes it
--       may take; head of the message, the event in it up to the metadata; then key, size and
--       JSON of each change

local gone = sweep(KEYS[1], KEYS[2], ARGV[1])
tell(KEYS[3], ARGV[4], ARGV[5], ARGV[1], {}, gone)
if redis.call('EXISTS', KEYS[4]) == 0 then return {'missing'} end
local fit, total, bytes = measure(KEYS[6], 10, tonumber(ARGV[7]), KEYS[4], 'metadata_bytes')
if not fit then return {'large', whole(total)} end

change(KEYS[6], 10, KEYS[4], 'metadata_bytes', bytes)
live_with(KEYS[4], KEYS[6])
list(KEYS[7], KEYS[8], KEYS[6], ARGV[6], redis.call('HGET', KEYS[4], 'creator'))
local metadata, rows = redis.call('HGETALL', KEYS[6]), {}
for name, value in pairs_of(metadata) do
  rows[#rows + 1] = '"' .. name .. '":' .. json_of(value)
end
redis.pcall(ARGV[4], ARGV[5],
  ARGV[8] .. '0 ' .. ARGV[9] .. '{' .. table.concat(rows, ',') .. '}}')
return {'changed', metadata}
