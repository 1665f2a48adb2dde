-- The operations. All windows of a call are charged or none.

local plans
local function slowly()
  plans = plans or planning()
  return plans
end

-- The windows of a call: names KEYS[3..], length and limit of each ARGV[11..].
local function windows_of()
  local windows = {}
  for i = 3, #KEYS do
    local name, length = KEYS[i], tonumber(ARGV[2 * i + 5])
    local w = stored(name)
    if not w or w.length ~= length then w = slowly().other(w, name, length) end
    w.limit = tonumber(ARGV[2 * i + 6])
    if w.used > 0 and w.first + length <= now then expire(w) end
    if w.booked > 0 and w.begins < now then slowly().lapse(w) end
    windows[i - 2] = w
  end
  return windows
end

-- Units left in the tightest level, and when it frees its next.
local function tightest(windows)
  local least, frees = INF, now
  for i = 1, #windows do
    local w = windows[i]
    local left = max(0, w.limit - w.used - w.booked)
    if left < least then least, frees = left, w.used > 0 and w.first + w.length or now end
  end
  return least, frees
end

local function answer(status, remaining, wait, granted, turn)
  return format('%d %.0f %.0f %.0f %.0f %s', status, max(0, remaining), max(0, wait), charges, granted, turn)
end

-- What this call was answered, in case it is sent again.
local function remember(...)
  call('SET', KEYS[2], pack(...), 'PX', ARGV[10])
end

local function admit(windows, granted, hold)
  local least, frees = INF, now
  for i = 1, #windows do
    local w = windows[i]
    charge(w, granted, hold)
    local left = max(0, w.limit - w.used - w.booked)
    if left < least then least, frees = left, w.first + w.length end
    save(w)
  end
  charges = charges + 1
  save_life()
  remember(least, frees, granted)
  return answer(1, least, frees - now, granted, '')
end

local function refuse(windows, left, at, turn)
  for i = 1, #windows do
    if windows[i].dirty then save(windows[i]) end
  end
  if turn ~= '' then remember(false, turn) end
  return answer(0, left, at - now, 0, turn)
end

-- A booked turn. Nothing where it is not held for these windows and units any more: then it is an ordinary call.
local function redeem(held, windows, cost)
  local b = slowly().booking(held)
  if not b then return nil end
  local same = b.cost == cost and #b.names == #windows and b.lapses >= now
  for i = 1, #windows do same = same and b.names[i] == windows[i].name end
  if not same then
    plans.release(b)
    return nil
  end
  for i = 1, #windows do plans.unbook(windows[i], b) end
  local may = true
  if now < b.at then
    for i = 1, #windows do may = may and plans.fits(windows[i], cost) end
  end
  if may then
    call('DEL', tag .. 'turn:' .. held)
    return admit(windows, cost, 0)
  end
  for i = 1, #windows do plans.rebook(windows[i], b) end
  return refuse(windows, (tightest(windows)), b.at, held)
end

-- take: ARGV[4..9] cost, reserve, reservation, block, hold, most bookings of one window; [10] for how many ms KEYS[2] keeps the answer.
local function take()
  local cost, held = tonumber(ARGV[4]), ARGV[6]
  local sent = call('GET', KEYS[2])
  if sent then
    local remaining, at, granted = unpack(sent)
    if remaining then return answer(1, remaining, at - now, granted, '') end
    if held == '' then held = at end
  end
  local warm = 0
  for i = 11, #ARGV, 2 do warm = max(warm, since + ARGV[i] + LEASE - now) end
  if warm > 0 then return answer(2, 0, warm, 0, '') end
  local windows = windows_of()
  if held ~= '' then
    local answered = redeem(held, windows, cost)
    if answered then return answered end
  end
  local least, fit = INF, true
  for i = 1, #windows do
    local w = windows[i]
    local left = w.limit - w.used - w.booked
    if left < cost then
      fit = w.used + cost <= w.limit and slowly().fits(w, cost)
      if not fit then break end
      left = cost
    end
    if left < least then least = left end
  end
  if fit then return admit(windows, max(cost, min(tonumber(ARGV[7]), least)), tonumber(ARGV[8])) end
  local at, left, books = slowly().plan(windows, cost), (tightest(windows)), ARGV[5] == '1'
  for i = 1, #windows do books = books and windows[i].booked < tonumber(ARGV[9]) end
  if books then plans.book(at, cost, windows) end
  return refuse(windows, left, at, books and id or '')
end

-- charge: ARGV[4] units, over the limit if need be; the rest as for take.
local function add()
  if call('EXISTS', KEYS[2]) == 1 then return answer(1, 0, 0, 0, '') end
  return admit(windows_of(), tonumber(ARGV[4]), 0)
end

-- beat: ARGV[4] the server's run id, '' where it is not told, and [5] for how long it runs, us; [6] the life that the caller knew and [7]
-- the most charges in it; [8] '1' where the caller doubts Redis's clock. Whatever may be forgotten is waited out.
local function beat()
  local boot, known, change = now - tonumber(ARGV[5]), tonumber(ARGV[7]), ''
  if ARGV[4] ~= '' and run ~= ARGV[4] then
    if run ~= '' and boot > newest then  -- it has read what was saved, which may be old
      since, change = max(since, boot), 'restarted'
    elseif run ~= '' then  -- it ran beside the other when that wrote last, and heard of it
      change = 'failed_over'
    end
    run = ARGV[4]
  end
  if ARGV[6] ~= '' and ARGV[6] ~= life then
    change = 'forgot'  -- and the new life is waited out from its beginning, which was after the loss
  elseif known > charges or ARGV[8] == '1' then
    since, charges, change = now, max(charges, known), 'forgot'
  end
  save_life()
  return format('%s %.0f %.0f %.0f %s', life, now, now - since, charges, change)
end

if operation == 'take' then return take() end
if operation == 'charge' then return add() end
if operation == 'beat' then return beat() end
if operation == 'release' then
  local b = slowly().booking(id)
  if b then plans.release(b) end
  return ''
end
-- prepare: a person says that a Redis without a life is new, so that nobody need wait for what it may have forgotten.
if remembers then return '0' end
since = 0
save_life()
return '1'
