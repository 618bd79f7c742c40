#!lua
-- Appends entries after version `base` if that is the head: all of them, or none.
--
-- KEYS  meta, log, clients, snapshot, index of one document
-- ARGV  epoch, base, history hash at base ('' to leave that unchecked), PUBLISH or SPUBLISH,
--       channel, head and tail of the frame, whether the frame holds the entries (1 or 0);
--       then of each entry its client, seq, at_ms, user, JSON and the history hash after it
--
-- Every check comes before the first write, for Redis takes nothing back. Versions are
-- formatted, because Lua writes large numbers as 1e+15.

local function whole(number) return string.format('%.0f', number) end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor')
if not head[1] then return {'missing'} end
if head[1] ~= ARGV[1] then return {'epoch', head[1]} end
local base = tonumber(ARGV[2])
if base < tonumber(head[4]) then return {'gone', head[4]} end
if base ~= tonumber(head[2]) then
  -- The race was lost (or this Redis lost its tail: then nothing was missed). What was
  -- missed comes along, which saves the loser a round trip. Whoever won hears of it.
  if base < tonumber(head[2]) then redis.pcall(ARGV[4], ARGV[5], 'w') end
  return {'conflict', head, redis.call('XRANGE', KEYS[2], '(' .. whole(base) .. '-0', '+')}
end
-- The same version of another history: this Redis lost its tail, and others wrote since.
if ARGV[3] ~= '' and ARGV[3] ~= head[3] then return {'conflict', head, {}} end

local FIRST, WIDTH = 9, 6
local kept, last = {}, {} -- of each client in the batch: its record, and the seq it has reached
for i = FIRST, #ARGV, WIDTH do
  local client = ARGV[i]
  if not last[client] then
    local record = redis.call('HGET', KEYS[3], client) or ''
    local seq, fenced = '0', '0'
    if record ~= '' then seq, fenced = string.match(record, '^(%d+) %d+ (%d) ') end
    if fenced ~= '0' then return {'stale', client, record} end
    kept[client], last[client] = record, tonumber(seq)
  end
  if tonumber(ARGV[i + 1]) ~= last[client] + 1 then return {'stale', client, kept[client]} end
  last[client] = last[client] + 1
end
if #ARGV < FIRST then return {'appended'} end

local frame, records, version = {}, {}, base
for i = FIRST, #ARGV, WIDTH do
  version = version + 1
  -- An id at or below the newest is refused: a second guard, should the head be wrong.
  redis.call('XADD', KEYS[2], whole(version) .. '-0', 'd', ARGV[i + 4], 'h', ARGV[i + 5])
  records[ARGV[i]] =
    ARGV[i + 1] .. ' ' .. whole(version) .. ' 0 ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3]
  frame[#frame + 1] = ARGV[i + 4]
end
for client, record in pairs(records) do redis.call('HSET', KEYS[3], client, record) end
redis.call('HSET', KEYS[1], 'version', whole(version), 'hash', ARGV[#ARGV],
  'updated_ms', ARGV[#ARGV - 3])

local body = ARGV[8] == '1' and table.concat(frame, ',') or ''
-- What was written counts, whatever becomes of the frame: the bus finds gaps by itself.
local sent = redis.pcall(ARGV[4], ARGV[5], ARGV[6] .. body .. ARGV[7])
if type(sent) == 'table' and sent.err then return {'appended', sent.err} end
return {'appended'}
