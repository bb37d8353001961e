-- id
local k, owner, kind = find(ARGV[4])
if not k or string.sub(owner, 1, 1) ~= '.' then return { 0, 0 } end
erase(ARGV[4], k, kind)
settle()
return { 0, 1 }
