-- What all scripts about presence have in common. A room's members are a hash
-- (<node>/<member id> -> JSON), its leases a sorted set (node -> end by this clock, in ms).

local function whole(number) return string.format('%.0f', number) end

local NUMBER_MS = 60 * 1000 -- a room's number is kept for so long where nobody is in it

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local micros = time[1] .. string.format('%06d', tonumber(time[2]))

-- Removes the members of nodes whose lease is over, but not those of `own`: a node that was
-- only late has lost nothing. Returns the ids of the removed, as JSON.
local function sweep(members, leases, own)
  local gone, over = {}, {}
  for _, node in ipairs(redis.call('ZRANGE', leases, '-inf', '(' .. whole(now), 'BYSCORE')) do
    if node ~= own then over[node] = true end
  end
  if not next(over) then return gone end
  for _, field in ipairs(redis.call('HKEYS', members)) do
    local node, id = string.match(field, '^([^/]*)/(.*)$')
    if over[node] then
      redis.call('HDEL', members, field)
      gone[#gone + 1] = '"' .. id .. '"'
    end
  end
  for node in pairs(over) do redis.call('ZREM', leases, node) end
  return gone
end

-- Tells all nodes of members that `node` entered or changed (JSON each), and of ids that are
-- gone. Numbers start at the time, so that those of a room that was lost never come again.
local function tell(seq, publish, channel, node, entered, gone)
  if #entered == 0 and #gone == 0 then return end
  redis.call('SET', seq, micros, 'PX', NUMBER_MS, 'NX')
  local number = redis.call('INCR', seq)
  redis.pcall(publish, channel, 'p{"seq":' .. whole(number) .. ',"by":"' .. node .. '","gone":['
    .. table.concat(gone, ',') .. '],"set":[' .. table.concat(entered, ',') .. ']}')
end

-- Renews the lease of `node` and what has to live as long: the first three keys are the
-- members, leases and number, the next ones the room's own, which outlive them by `linger`.
local function renew(keys, node, lease, linger)
  redis.call('ZADD', keys[2], whole(now + lease), node)
  for i = 1, 3 do redis.call('PEXPIRE', keys[i], whole(2 * lease)) end
  for i = 4, #keys do redis.call('PEXPIRE', keys[i], whole(lease + linger)) end
end
