"""The verbs of the built-in corpus, as tables.

English forms: base [past participle ing], regular where left out, an unchanging particle after `+`.
Then Chinese | subject classes | object classes | where it is done (tags of PLACES) | aura. The aura ties clauses into
a story: what one feels afterwards (good, bad, effort) and what one does it for (eat, drink, rest, fun, duty).
"""

# Takes time, so it has a progressive. Past: 了 after the verb.
DURATIVE = """
eat ate eaten | 吃 | person | food | eat | eat
eat ate eaten | 吃 | hunter | animalfood | outside | eat
eat ate eaten | 吃 | grazer | grass | outside | eat
drink drank drunk | 喝 | person | drinkable | drink | drink
drink drank drunk | 喝 | adult | alcohol | drink | fun
drink drank drunk | 喝 | animal | animaldrink | outside | drink
read read read | 读 | person | readable | read | fun duty
write wrote written writing | 写 | person | writable | write | duty
buy bought bought | 买 | person | goods poultry | buy | plain
sell sold sold | 卖 | adult company | goods | buy | plain
watch | 看 | person | shown contest | film | fun
look + for | 找 | person | losable pet | none | bad
wash | 洗 | person | washable dishware | wash | duty
cook | 做 | person | dish cookable | cook | duty
make made made making | 做 | person | made | cook | duty
repair | 修 | person | repairable part | repair | duty effort
draw drew drawn | 画 | person | drawn animal | draw | fun
feed fed fed | 喂 | person | animal | feed | duty
chase chased chased chasing | 追 | hunter | prey pet | outside | fun
sing sang sung | 唱 | person | sung | sing | fun
listen + to | 听 | person | music sung | listen | fun
plant | 种 | person | plant | grow | effort duty
pick | 摘 | person | pickable | grow | effort
ride rode ridden riding | 骑 | person | ridden | outdoors | fun
drive drove driven driving | 开 | person | driven | none | plain
drive drove driven driving | 操作 | worker | heavymachine | work | effort
visit | 看望 | person | person | none | good
visit | 参观 | person | seenplace | none | fun
take took taken taking | 拍 | person | photographed | photo | fun
take took taken taking | 吃 | person | pill | heal | bad
cut cut cut cutting | 剪 | person | bodypart | sleep | duty
carry carried carried | 搬 | person | sized | none | effort
swing swung swung | 挥动 | person | sporttool | none | effort
check | 检查 | person | repairable | repair | duty
check | 检查 | person | task | write | duty
learn | 学 | person | symbol | study | duty effort
design | 设计 | company | new | none | plain
"""

# Both an act and a state: 穿了, 穿着. English | Chinese | object classes
WEAR = """
wear wore worn | 穿 | clothes
wear wore worn | 戴 | put eyewear
"""

# Happens at a point, so it has no progressive. Past: 了 after the verb.
ACHIEVEMENT = """
see saw seen seeing | 看见 | person | animal heavymachine plant vehicle person sky | walk | plain
find found found | 找到 | person | losable portable pet | none | good
receive received received receiving | 收到 | person | mailed gift giftable | none | good
meet met met meeting | 遇见 | person | person | meet | good
help | 帮助 | person | person | none | effort
thank | 感谢 | person | person | none | plain
praise praised praised praising | 表扬 | adult | child | none | plain
invite invited invited inviting | 邀请 | person | person | none | plain
catch caught caught | 抓住 | hunter | prey | outside | plain
bite bit bitten biting | 咬 | hunter | person prey | outside | plain
hear heard heard | 听见 | person | sound | none | plain
remember remembered remembered remembering | 记住 | person | symbol tellable | none | plain
win won won winning | 赢 | person | contest | none | good
cancel canceled canceled canceling | 取消 | person | occasion contest | none | plain
answer | 回答 | person | asked | none | plain
press | 按 | person | button | none | plain
click | 点击 | person | computerpart | none | plain
borrow | 借 | person | borrowable | borrow | plain
withdraw withdrew withdrawn | 取 | person | cash | money | plain
save saved saved saving | 存 | person | cash | money | good
choose chose chosen choosing | 挑选 | person | goods giftable poultry | buy | fun
release released released releasing | 发布 | company | new | none | plain
"""

# The object is disposed of: 把 object verb 了. The last column says whether one can want it.
RESULTATIVE = """
break broke broken | 打破 | person | breakable | bad | no
lose lost lost losing | 弄丢 | person | losable | bad | no
close closed closed closing | 关上 | person | opening box | plain | yes
open | 打开 | person | opening box | plain | yes
finish | 做完 | person | task | good duty | yes
light lit lit | 点燃 | person | burning lightable | plain | yes
turn + on | 打开 | person | switched switch | plain | yes
turn + off | 关掉 | person | switched switch | plain | yes
hide hid hidden hiding | 藏起来 | person | portable giftable | plain | yes
throw threw thrown + away | 扔掉 | person | clothes breakable | plain | yes
sharpen | 磨快 | person | sharp | duty | yes
hammer | 敲进去 | person | hammered | effort | yes
fix | 修好 | person | repairable part | good duty | yes
"""

# An activity with a bare object: past 了 after the object.
ACTIVITY = """
play | 踢 | person | kicked | outdoors | fun effort
play | 打 | person | handball | exercise outdoors | fun effort
play | 下 | person | board | rest | fun
play | 弹 | person | keyed | listen | fun
play | 拉 | person | bowed | listen | fun
play | 吹 | person | blown | listen | fun
study studied studied | 学习 | person | subject | study | duty effort
learn | 学 | person | subject | study | duty effort
teach taught taught | 教 | teaching kin | subject | teach | duty effort
practice practiced practiced practicing | 练习 | person | keyed bowed blown | listen | duty effort
practice practiced practiced practicing | 练习 | person | handball | exercise | duty effort
take took taken taking | 坐 | person | transport | none | plain
"""

# States: no aspect, no progressive. The last column says which determiners the object takes.
STATIVE = """
like | 喜欢 | person | food drinkable animal plant readable subject pastime occasion | def bare
hate | 讨厌 | person | task prey vegetable insect | def bare
know knew known | 认识 | person | person | def
know knew known | 知道 | person | tellable | def
trust | 信任 | person | person | def
want | 想要 | person | goods giftable | indef count
need | 需要 | person | goods pill | indef count
"""

# Of those one holds dear: 汤姆爱他妈妈.
CHERISH = """
love | 爱
miss | 想念
"""

# No object. Past: 了 at the end.
INTRANSITIVE = """
swim swam swum swimming | 游泳 | person | swim | fun effort
run ran run running | 跑步 | person | exercise outdoors | effort
dance danced danced dancing | 跳舞 | person | sing outdoors | fun effort
sing sang sung | 唱歌 | person | sing outdoors | fun
sleep slept slept | 睡觉 | person animal | sleep outside | rest
work | 工作 | adult | work | effort duty
study studied studied | 学习 | person | study | effort duty
rest | 休息 | person animal | rest outside | rest
exercise exercised exercised exercising | 锻炼 | person | exercise outdoors | effort
walk | 散步 | person | outdoors walk river | fun
chat chatted chatted chatting | 聊天 | person | meet drink rest | fun
fish | 钓鱼 | person | fish | fun
camp | 露营 | person | camp | fun
cook | 做饭 | person | cook | duty
shop shopped shopped shopping | 购物 | person | buy | fun
play | 玩 | child pet | outdoors outside | fun
wait waited waited | 等 | person | wait | plain
"""

# Verb with 给 after it: 送给玛丽一本书. English | Chinese | object classes
DATIVE = """
give gave given giving | 送给 | gift giftable goods
lend lent lent | 借给 | borrowable tool
send sent sent | 寄给 | postable gift
sell sold sold | 卖给 | goods
hand | 递给 | tool dishware
"""

# 给 before the verb: 给玛丽讲了一个故事.
BENEFIT = """
tell told told | 讲 | tellable
buy bought bought | 买 | goods gift
write wrote written writing | 写 | mailed poem
make made made making | 做 | made
sing sang sung | 唱 | sung
"""

# English verb with object, Chinese 给 object verb: 给玛丽打电话. English | Chinese | object classes
COVERB = """
call | 打电话 | person
charge charged charged charging | 充电 | phone
water | 浇水 | plant
"""

# What follows is a clause: 他说 ...
SPEECH = """
say said said | 说
think thought thought | 觉得
"""

# What follows is an infinitive: 他想看书.
CONTROL = """
want | 想 | said
plan planned planned planning | 打算 | said
hope hoped hoped hoping | 希望 | said
like liked liked liking | 喜欢 | taste
"""

# Says little about its object: the context must tell an apple from an apple.
NEUTRAL = """
see saw seen seeing | 看见 | animal heavymachine fruit phone cheering switch artist sky contest wellspring oddment mail
buy bought bought | 买 | goods prey poultry oddment stamp eyewear hammered switch
find found found | 找到 | animal heavymachine fruit phone cheering switch wellspring oddment stamp mail
"""

# Done or left undone for the sake of what the thing is like.
ACQUIRE = """
buy bought bought | 买
choose chose chosen choosing | 挑选
"""

# What one does with it in the end: 把它吃了.
DISPOSE = """
eat ate eaten | 吃 | food
wash | 洗 | washable dishware
sell sold sold | 卖 | goods oddment stamp switch
repair | 修 | repairable part switch
feed fed fed | 喂 | animal
light lit lit | 点燃 | burning lightable
throw threw thrown + away | 扔掉 | breakable clothes burning part fruit
lose lost lost losing | 弄丢 | losable metal
"""

# Verbs of one rule each: want (in 他想...), have (in 他有...), go, put, and what the weather does.
WISH = "want | 想"
OWN = "have had had having has | 有"
GO = "go went been going | 去"
PUT = "put put put putting | 放"
WEATHER = """
rain | 下雨
snow | 下雪
"""

# Category: names of the columns after English and Chinese, table.
OTHERS = {
    "resultative": ("subject object aura will", RESULTATIVE),
    "stative": ("subject object det", STATIVE),
    "intransitive": ("subject at aura", INTRANSITIVE),
    "wear": ("object", WEAR),
    "dative": ("object", DATIVE),
    "benefit": ("object", BENEFIT),
    "coverb": ("object", COVERB),
    "neutral": ("object", NEUTRAL),
    "dispose": ("object", DISPOSE),
    "control": ("mode", CONTROL),
    "speech": ("", SPEECH),
    "cherish": ("", CHERISH),
    "acquire": ("", ACQUIRE),
    "wish": ("", WISH),
    "own": ("", OWN),
    "go": ("", GO),
    "put": ("", PUT),
    "weather": ("", WEATHER),
}
