-- session, id
local n = guard()
if n < 0 then return { n } end
local t = now()
local k, owner, kind = find(ARGV[5])
if not k or string.sub(owner, 1, 1) == '.' or not is_live(ARGV[4], t) then return { n } end
local holder = session_of(owner)
if holder and holder ~= ARGV[4] then
  local till = tonumber(C('ZSCORE', SESSIONS, holder) or 0)
  if till > t or till > 0 and till < heard_since(ARGV[4], t) then return { n } end
end
local taken = take(ARGV[5], k, owner, kind, ARGV[4])
settle()
return { n, taken }
