/**
 * lease-book.ts in Redis: one hash a window, changed by one script, so that no two gateways see it half changed.
 * Fields: `e` epoch, `b` when it began (ms), `rt` `rm` restored, `st` `sm` granted since, and for each gateway
 * `g:<id>` = sequence, grant, granted, spent, time of its last call. Numbers are whole and below 2^53.
 */
export const budgetKeyPrefix = 'muster:budget:';

/** @param window account and window: `team-a|2026-11` */
export function budgetKey(window: string): string {
  return `${budgetKeyPrefix}{${window}}`;
}

const common = `
local function read(text)
  local n = {}
  for part in string.gmatch(text, '%S+') do n[#n + 1] = tonumber(part) end
  return n
end
local function write(n)
  local parts = {}
  for i = 1, #n do parts[i] = string.format('%.0f', n[i]) end
  return table.concat(parts, ' ')
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
`;

/**
 * KEYS: the hash. ARGV: gateway, sequence, want (tokens, micros), granted, offline, spent, epoch, known, new epoch,
 * limits (-1: none), gone after ms, expiry in ms since 1970 (0: never).
 * Answer: epoch, grant (tokens, micros), total, gateways.
 */
export const leaseLua = `${common}
local key, gateway = KEYS[1], ARGV[1]
local function arg(i) return tonumber(ARGV[i]) end
local h = redis.call('HMGET', key, 'e', 'b', 'rt', 'rm', 'st', 'sm', 'g:' .. gateway)
local epoch, born = h[1] or ARGV[14], tonumber(h[2] or now)
local restored = { tonumber(h[3] or 0), tonumber(h[4] or 0) }
local since = { tonumber(h[5] or 0), tonumber(h[6] or 0) }
local known = h[7] and read(h[7])
local isRepeat = known and known[1] == arg(2)
local isOldEpoch = ARGV[11] ~= '' and ARGV[11] ~= epoch
local grant, granted, total = { 0, 0 }, {}, {}
for d = 1, 2 do
  local want, had, offline, limit = arg(2 + d), arg(4 + d), arg(6 + d), arg(14 + d)
  if isOldEpoch then restored[d] = math.max(restored[d], arg(11 + d)) end
  local base = 0
  if known then base = known[3 + d] elseif isOldEpoch then base = had - offline end
  if isRepeat then base = base - known[1 + d] end
  since[d] = since[d] + had - base
  if isRepeat then
    grant[d] = known[1 + d]
  else
    grant[d] = want
    if want > 0 and limit >= 0 then
      grant[d] = math.max(0, math.min(want, limit - restored[d] - since[d]))
    end
    since[d] = since[d] + grant[d]
  end
  granted[d] = had + grant[d]
  total[d] = restored[d] + since[d]
end
local entry = write({ arg(2), grant[1], grant[2], granted[1], granted[2], arg(9), arg(10), now })
local function whole(n) return string.format('%.0f', n) end
redis.call('HSET', key, 'e', epoch, 'b', whole(born), 'rt', whole(restored[1]), 'rm', whole(restored[2]),
  'st', whole(since[1]), 'sm', whole(since[2]), 'g:' .. gateway, entry)
if arg(18) > 0 then redis.call('PEXPIREAT', key, ARGV[18]) end
local gateways, all = 0, redis.call('HGETALL', key)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'g:' and read(all[i + 1])[8] > now - arg(17) then gateways = gateways + 1 end
end
return { epoch, whole(grant[1]), whole(grant[2]), whole(total[1]), whole(total[2]), gateways }
`;

/**
 * KEYS: the hash. ARGV: gone after ms, forgotten after ms, then gateway, tokens, micros for each that the ledger knows.
 * Answer: what came back (tokens, micros), gateways that are gone; nothing for a book that is young or not there.
 */
export const settleLua = `${common}
local key, gone, forgotten = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local h = redis.call('HMGET', key, 'b', 'rt', 'rm', 'st', 'sm')
if not h[1] or now - tonumber(h[1]) < gone then return {} end
local spent = {}
for i = 3, #ARGV, 3 do spent[ARGV[i]] = { tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]) } end
local total, lost, all = { 0, 0 }, 0, redis.call('HGETALL', key)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'g:' then
    local gateway, n = string.sub(all[i], 3), read(all[i + 1])
    if n[8] <= now - gone then
      local truth = spent[gateway] or { 0, 0 }
      lost = lost + 1
      n[2], n[3], n[4], n[5] = 0, 0, truth[1], truth[2]
      if n[8] <= now - forgotten then
        redis.call('HDEL', key, all[i])
      else
        redis.call('HSET', key, all[i], write(n))
      end
    end
    total[1], total[2] = total[1] + n[4], total[2] + n[5]
    spent[gateway] = nil
  end
end
for _, truth in pairs(spent) do total[1], total[2] = total[1] + truth[1], total[2] + truth[2] end
local function whole(n) return string.format('%.0f', n) end
redis.call('HSET', key, 'rt', '0', 'rm', '0', 'st', whole(total[1]), 'sm', whole(total[2]))
return { whole(tonumber(h[2]) + tonumber(h[4]) - total[1]), whole(tonumber(h[3]) + tonumber(h[5]) - total[2]), lost }
`;
