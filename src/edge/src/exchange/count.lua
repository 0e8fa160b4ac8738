-- Counts requests under keys that all edges share, by the generic cell rate algorithm:
-- a key holds its TAT, in microseconds of this server's clock, and is gone when it owes
-- nothing. One clock for all, so that the edges' own need not agree.
--
-- ARGV[1] is "ask" or "tell", then for each key: what the request costs, the largest
-- debt it may bring about, and the largest that its policy can leave (microseconds, with
-- fractions). Asked, all keys are charged, or none when one of them refuses. Told, the
-- requests have passed already.
--
-- Answers, for each key: 1 when it admits, and what it owes now, in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local asked = ARGV[1] == 'ask'
local debts, after, cut, answer = {}, {}, {}, {}
local passes = true
for i, key in ipairs(KEYS) do
  local at = 3 * i - 1
  local cost, tolerance, ceiling = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  -- Whatever else there may be under the key is written over.
  local held = redis.pcall('GET', key)
  local debt = (type(held) == 'string' and tonumber(held) or now) - now
  if debt < 0 then
    debt = 0
  elseif not (debt <= ceiling) then
    -- Another policy's, from before a change: cut for good, whatever comes of the request.
    debt = tolerance
    cut[i] = true
  end
  debts[i] = debt
  after[i] = debt + cost
  answer[2 * i - 1] = 1
  if not asked then
    after[i] = math.min(after[i], ceiling)
  elseif after[i] > tolerance then
    answer[2 * i - 1] = 0
    passes = false
  end
end
for i, key in ipairs(KEYS) do
  local debt = passes and after[i] or debts[i]
  if passes or cut[i] then
    -- Rounded up to quarters, which doubles of this size hold exactly.
    local tat = math.ceil((now + debt) * 4) / 4
    debt = tat - now
    if debt > 0 then
      redis.call('SET', key, string.format('%.2f', tat), 'PX', math.ceil(debt / 1000) + 1)
    end
  end
  answer[2 * i] = math.ceil(debt)
end
return answer
