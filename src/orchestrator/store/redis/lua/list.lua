-- kind, index, before ('' = from the newest), limit, most to look at, application ('' = any), statuses …: the place to go on from ('' = the end), rows
local kind, index, before, limit, most, application = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local wanted, any = {}, #ARGV < 10
for i = 10, #ARGV do wanted[ARGV[i]] = true end
local rows = {}
while most > 0 do
  local page = math.min(most, 100)
  local ids = C('ZREVRANGEBYLEX', P .. index, before == '' and '+' or '(' .. before, '-', 'LIMIT', 0, page)
  for _, id in ipairs(ids) do
    before = id
    local row = listed(id, P .. kind .. ':' .. id, kind)
    if row[6] and (any or wanted[row[6]]) and (application == '' or row[3] == application) then
      rows[#rows + 1] = row
      if #rows == limit then return { 0, before, rows } end
    end
  end
  if #ids < page then return { 0, '', rows } end
  most = most - page
end
return { 0, before, rows }
