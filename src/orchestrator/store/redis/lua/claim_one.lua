-- session, id
local n = guard()
if n < 0 then return { n } end
local t = now()
local k, owner, kind = find(ARGV[5])
if not k or string.sub(owner, 1, 1) == '.' or not is_live(ARGV[4], t) then return { n } end
local holder = session_of(owner)
if holder and holder ~= ARGV[4] and is_live(holder, t) then return { n } end
local taken = take(ARGV[5], k, owner, kind, ARGV[4])
settle()
return { n, taken }
