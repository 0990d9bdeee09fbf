"""Adjectives, time words, adverbs, numbers and relations of the built-in corpus, as tables."""

# English [comparative] | Chinese | of which classes | what brings it about | what it makes one do. After the Chinese,
# `-` marks one that stands before its noun without 的, `!` one that does not stand there.
# Without a comparative the English one is made with "more". The last two columns are the aura of the verbs, and
# mark a passing feeling.
ADJECTIVES = """
happy happier | 高兴 | person | good fun |
sad sadder | 难过 | person | bad |
angry angrier | 生气 | person | bad |
worried | 担心 | person | bad |
busy busier | 忙 | person | |
nervous | 紧张 | person | |
lonely lonelier | 孤独 | person | |
excited | 激动 | person | good |
proud prouder | 骄傲 | person | good |
bored | 无聊 | person | | fun
tired | 累! | person animal | effort | rest
sleepy sleepier | 困 | person animal | effort | rest
hungry hungrier | 饿 | person animal | effort | eat
thirsty thirstier | 渴 | person animal | effort | drink
tall taller | 高! | person
young younger | 年轻 | adult
old older | 老- | adult hunter farmanimal wild
old older | 旧- | furniture vehicle clothes device book container metal
short shorter | 矮! | person
short shorter | 短- | clothes text
clever cleverer | 聪明 | person pet
bright brighter | 聪明 | person
bright brighter | 明亮 | room sky
kind kinder | 善良 | person
strong stronger | 强壮 | large person
handsome | 英俊 | male
beautiful | 漂亮 | female clothes put giftable plant flier
famous | 有名 | adult artist seenplace
rich richer | 有钱 | adult
poor poorer | 穷! | person
lazy lazier | 懒! | person pet
friendly friendlier | 友好 | person pet cheering
polite | 有礼貌 | person
brave braver | 勇敢 | person
shy shyer | 害羞 | person
honest | 诚实 | person
careful | 细心 | person
diligent | 勤奋 | person
quiet quieter | 安静 | child pet room
fat fatter | 胖- | pet farmanimal
thin thinner | 瘦- | person pet farmanimal
thin thinner | 薄- | book clothes
cute cuter | 可爱 | little pet poultry plaything insect
dangerous | 危险 | wild
fierce fiercer | 凶猛 | wild
big bigger | 大- | fruit animal sized large phone computerpart heavymachine
small smaller | 小- | fruit animal sized little phone computerpart
new newer | 新- | new book tool gift clothes accessory computerpart
cheap cheaper | 便宜 | goods poultry computerpart stamp
expensive | 贵 | goods poultry computerpart stamp
heavy heavier | 重 | metal heavymachine surface container device
light lighter | 轻 | container phone
useful | 有用 | tool book device
clean cleaner | 干净 | clothes room dishware
dirty dirtier | 脏 | clothes room dishware
long longer | 长- | clothes text
modern | 现代 | public phone device heavymachine
comfortable | 舒服 | seat clothes
interesting | 有趣 | readable shown contest tellable subject
boring | 无聊 | readable shown contest tellable subject
exciting | 精彩 | contest shown fiction
difficult | 难 | asked subject task
easy easier | 容易 | asked subject task
important | 重要 | task asked mailed contest
hard harder | 硬 | seat snack
hard harder | 难 | asked subject task
soft softer | 软 | seat clothes
sharp sharper | 锋利 | sharp hammered
thick thicker | 厚- | book clothes
fresh fresher | 新鲜 | fresh
delicious | 好吃 | food
delicious | 好喝 | drink
sweet sweeter | 甜 | sweet
sour sourer | 酸 | fruit
hot hotter | 热- | hot
cold colder | 冷 | room
noisy noisier | 吵! | switch public child cheering
crowded | 拥挤 | public
popular | 受欢迎 | artist shown phone sung
romantic | 浪漫 | occasion shown fiction
loud louder | 响亮! | sound sung music
strong stronger | 结实 | part hammered surface container sporttool
clear clearer | 清澈 | wellspring
fast faster | 快! | vehicle transport
"""

# Those that take 是...的 instead of 很: colours, and newest. English | Chinese | of which classes
COLORS = """
red | 红色 | colored
blue | 蓝色 | colored
green | 绿色 | colored
black | 黑色 | colored
white | 白色 | colored
yellow | 黄色 | colored
brown | 棕色 | colored
pink | 粉色 | colored
purple | 紫色 | colored
newest | 最新款 | phone device
"""

# English | Chinese | tense
TIMES = """
yesterday | 昨天 | past
last night | 昨晚 | past
last week | 上周 | past
last month | 上个月 | past
last year | 去年 | past
this morning | 今天早上 | past
just now | 刚才 | past
last Sunday | 上个星期天 | past
now | 现在 | now
tomorrow | 明天 | future
tonight | 今晚 | future
next week | 下周 | future
next month | 下个月 | future
next Sunday | 下个星期天 | future
this weekend | 这个周末 | future
this afternoon | 今天下午 | future
every day | 每天 | habit
every morning | 每天早上 | habit
every evening | 每天晚上 | habit
every week | 每周 | habit
on Sundays | 星期天 | habit
on weekends | 周末 | habit
in summer | 夏天 | habit
in winter | 冬天 | habit
in spring | 春天 | habit
"""

# English | Chinese
FREQUENCY = """
often | 经常
always | 总是
sometimes | 有时候
usually | 通常
never | 从不
seldom | 很少
"""

MODALS = """
can | 能
should | 应该
must | 必须
will | 会
may | 可以
"""

NUMBERS = """
two | 两 | small
three | 三 | small
four | 四 | small
five | 五 | large
six | 六 | large
seven | 七 | large
eight | 八 | large
ten | 十 | large
"""

# English | Chinese | which things one can be so related to
RELATIONS = """
on | 上 | surface
under | 下面 | surface
in | 里 | box
behind | 后面 | spot opening outdoorspot
beside | 旁边 | spot opening outdoorspot
in front of | 前面 | furniture opening
"""

# English | Chinese | of which drinks and dishes
CONTAINERS = """
cup | 杯 | cupped
glass/glasses | 杯 | bottled
bottle | 瓶 | bottled
bowl | 碗 | bowled
"""

# Ways to travel: English | Chinese | to where
RIDES = """
bus | 公交车 | public trip
train | 火车 | city
taxi | 出租车 | public
subway | 地铁 | public
plane | 飞机 | city
boat | 船 | city
"""

SKIES = """
hot | 热 | bad
cold | 冷 | bad
bad | 糟糕 | bad
good | 好 | good
warm | 暖和 | good
"""

# Why one takes a thing, and why one leaves it.
APPEALING = """
beautiful clever friendly quiet cute new cheap light useful clean modern
comfortable interesting exciting easy soft fresh delicious sweet popular small
"""
REPELLENT = "old short expensive heavy dirty boring difficult hard thin sour big noisy"

# Category: names of the columns after English and Chinese, table.
OTHERS = {
    "color": ("of", COLORS),
    "time": ("tense", TIMES),
    "frequency": ("", FREQUENCY),
    "modal": ("", MODALS),
    "number": ("size", NUMBERS),
    "ride": ("to", RIDES),
    "relation": ("spot", RELATIONS),
    "sky": ("mood", SKIES),
}
