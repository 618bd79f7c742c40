#!lua
-- Forgets those of some clients that were last used before a time; returns how many.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  the time in milliseconds, then clients
local forgotten = 0
for i = 2, #ARGV do
  local record = redis.call('HGET', KEYS[3], ARGV[i])
  local used = record and string.match(record, '^%d+ %d+ %d (%d+) ')
  if used and tonumber(used) < tonumber(ARGV[1]) then
    forgotten = forgotten + redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
return {'forgotten', forgotten}
