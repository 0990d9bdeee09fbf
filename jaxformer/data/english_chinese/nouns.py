"""The nouns, names, places and pronouns of the built-in corpus, as tables.

NOUNS: English singular[/irregular plural] | Chinese | measure word | classes. A measure word `-` marks a mass noun,
`- them` one that is always plural without a count, and `+ 双` one that comes in pairs. `KINDS` says what else a
member of a class is.
"""

KINDS = {
    "fruit": "food goods washable pickable fresh",
    "vegetable": "food goods washable cookable fresh",
    "snack": "food goods",
    "dish": "food cookable",
    "drink": "drinkable goods",
    "book": "readable goods portable borrowable",
    "text": "readable writable",
    "mail": "text postable mailed",
    "clothes": "goods washable colored",
    "accessory": "put goods losable colored giftable",
    "tool": "goods portable losable",
    "gift": "goods portable giftable",
    "device": "goods repairable new sized switched",
    "phone": "goods repairable new losable portable",
    "vehicle": "repairable colored new sized outdoorspot",
    "surface": "furniture goods sized colored spot",
    "container": "sized goods portable spot box",
    "furniture": "spot",
    "pet": "animal",
    "wild": "animal",
    "farmanimal": "animal",
    "prey": "animal",
    "flier": "animal",
    "learner": "child",
    "job": "adult worker",
    "teaching": "job",
    "burning": "oddment",
    "part": "oddment",
    "metal": "oddment",
    "sporttool": "oddment",
    "computerpart": "oddment",
    "shown": "pastime",
    "music": "pastime",
    "sung": "pastime",
    "kicked": "pastime",
    "handball": "pastime",
    "board": "pastime",
    "child": "person",
    "royal": "adult",
    "adult": "person",
}

NOUNS = """
orange | 橙子 | 个 | fruit sweet
banana | 香蕉 | 根 | fruit sweet animalfood
pear | 梨 | 个 | fruit sweet
peach/peaches | 桃子 | 个 | fruit sweet
lemon | 柠檬 | 个 | fruit
watermelon | 西瓜 | 个 | fruit sweet
strawberry/strawberries | 草莓 | 颗 | fruit sweet
tomato/tomatoes | 西红柿 | 个 | vegetable
potato/potatoes | 土豆 | 个 | vegetable
carrot | 胡萝卜 | 根 | vegetable animalfood
egg | 鸡蛋 | 个 | vegetable
cake | 蛋糕 | 个 | snack sweet made
cookie | 饼干 | 块 | snack sweet made
sandwich/sandwiches | 三明治 | 个 | snack made
hamburger | 汉堡 | 个 | snack
dumplings | 饺子 | - them | dish made
noodles | 面条 | - them | dish
vegetables | 蔬菜 | - them | vegetable
rice | 米饭 | - | dish bowled
soup | 汤 | - | cookable drinkable bowled hot
bread | 面包 | - | snack
meat | 肉 | - | dish animalfood goods
beef | 牛肉 | - | dish goods
fish | 鱼 | - | dish animalfood goods
cheese | 奶酪 | - | snack
chocolate | 巧克力 | - | snack sweet
grass | 草 | - | grass
fruit | 水果 | - | fruit sweet
water | 水 | - | drinkable animaldrink bottled cupped hot
tea | 茶 | - | drink cupped hot
coffee | 咖啡 | - | drink cupped hot
milk | 牛奶 | - | drink animaldrink bottled cupped hot
juice | 果汁 | - | drink bottled cupped sweet
beer | 啤酒 | - | goods alcohol bottled
wine | 葡萄酒 | - | goods alcohol bottled
medicine | 药 | - | pill
book | 书 | 本 | book
magazine | 杂志 | 本 | book
newspaper | 报纸 | 张 | book
dictionary/dictionaries | 词典 | 本 | book
novel | 小说 | 本 | book writable fiction
story/stories | 故事 | 个 | text tellable fiction
poem | 诗 | 首 | text poem fiction
article | 文章 | 篇 | text
email | 邮件 | 封 | text mailed
report | 报告 | 份 | task text
postcard | 明信片 | 张 | mail
pen | 钢笔 | 支 | tool
pencil | 铅笔 | 支 | tool
knife/knives | 刀 | 把 | tool sharp
umbrella | 雨伞 | 把 | tool colored
ticket | 票 | 张 | tool
wallet | 钱包 | 个 | tool colored
phone | 手机 | 部 | phone
camera | 照相机 | 台 | phone
computer | 电脑 | 台 | device
radio | 收音机 | 台 | device
clock | 时钟 | 个 | device
printer | 打印机 | 台 | device
lamp | 台灯 | 盏 | device
robot | 机器人 | 个 | device
bike | 自行车 | 辆 | vehicle goods ridden
car | 汽车 | 辆 | vehicle driven
truck | 卡车 | 辆 | vehicle driven
shirt | 衬衫 | 件 | clothes
coat | 外套 | 件 | clothes
sweater | 毛衣 | 件 | clothes
jacket | 夹克 | 件 | clothes
dress/dresses | 裙子 | 条 | clothes
shoes | 鞋子 | + 双 | clothes
socks | 袜子 | + 双 | clothes
hat | 帽子 | 顶 | accessory
watch/watches | 手表 | 块 | accessory
necklace | 项链 | 条 | accessory
scarf/scarves | 围巾 | 条 | accessory
gloves | 手套 | + 双 | accessory
table | 桌子 | 张 | surface
desk | 书桌 | 张 | surface
bed | 床 | 张 | surface seat
sofa | 沙发 | 张 | surface seat
shelf/shelves | 书架 | 个 | surface
chair | 椅子 | 把 | surface seat
box/boxes | 盒子 | 个 | container
bag | 包 | 个 | container losable
basket | 篮子 | 个 | container
suitcase | 行李箱 | 个 | container losable
door | 门 | 扇 | opening
window | 窗户 | 扇 | opening breakable
plate | 盘子 | 个 | breakable dishware small
cup | 杯子 | 个 | breakable dishware small
bowl | 碗 | 个 | breakable dishware small
bottle | 瓶子 | 个 | breakable goods
toy | 玩具 | 个 | gift plaything
doll | 洋娃娃 | 个 | gift plaything
ball | 球 | 个 | gift
map | 地图 | 张 | gift
picture | 画 | 幅 | drawn giftable
photo | 照片 | 张 | giftable photographed
flower | 花 | 朵 | plant drawn giftable colored pickable
rose | 玫瑰 | 朵 | plant giftable colored pickable
tree | 树 | 棵 | plant drawn outdoorspot
candle | 蜡烛 | 根 | lightable goods
song | 歌 | 首 | sung
movie | 电影 | 部 | shown
question | 问题 | 个 | asked
secret | 秘密 | 个 | tellable
joke | 笑话 | 个 | tellable
homework | 作业 | - | task
news | 新闻 | - | shown
money | 钱 | - | cash
music | 音乐 | - | music
football | 足球 | - | kicked
basketball | 篮球 | - | handball
tennis | 网球 | - | handball
volleyball | 排球 | - | handball
badminton | 羽毛球 | - | handball
chess | 象棋 | - | board
piano | 钢琴 | 架 | keyed
guitar | 吉他 | 把 | keyed goods
violin | 小提琴 | 把 | bowed goods
flute | 笛子 | 支 | blown goods
history | 历史 | - | subject
math | 数学 | - | subject
Chinese | 中文 | - | subject
English | 英语 | - | subject
Japanese | 日语 | - | subject
French | 法语 | - | subject
bus/- | 公交车 | 辆 | transport
train/- | 火车 | 列 | transport
taxi/- | 出租车 | 辆 | transport
subway/- | 地铁 | 趟 | transport
cat | 猫 | 只 | pet hunter little
dog | 狗 | 只 | pet hunter
rabbit | 兔子 | 只 | pet prey grazer little
puppy/puppies | 小狗 | 只 | pet little
kitten | 小猫 | 只 | pet little
bird | 鸟 | 只 | prey flier little
duck | 鸭子 | 只 | farmanimal poultry little
horse | 马 | 匹 | farmanimal grazer ridden large
cow | 牛 | 头 | farmanimal grazer large
pig | 猪 | 头 | farmanimal
goat | 山羊 | 只 | farmanimal grazer
elephant | 大象 | 头 | wild grazer large
tiger | 老虎 | 只 | wild hunter large
lion | 狮子 | 头 | wild hunter large
monkey | 猴子 | 只 | wild
panda | 熊猫 | 只 | wild large
bear | 熊 | 只 | wild hunter large
wolf/wolves | 狼 | 只 | wild hunter
fox/foxes | 狐狸 | 只 | wild hunter
frog | 青蛙 | 只 | prey little
butterfly/butterflies | 蝴蝶 | 只 | flier insect
apple | 苹果 | 个 | fruit sweet
apple | 苹果手机 | 部 | phone
date | 红枣 | 颗 | fruit sweet
date | 约会 | 次 | occasion
letter | 信 | 封 | mail
letter | 字母 | 个 | symbol
key | 钥匙 | 把 | metal losable portable
key | 按键 | 个 | button
ring | 戒指 | 枚 | accessory
ring | 铃声 | 阵 | sound
spring | 弹簧 | 根 | part
spring | 泉水 | 处 | wellspring
seal | 印章 | 枚 | stamp
seal | 海豹 | 只 | wild
bat | 蝙蝠 | 只 | prey flier
bat | 球棒 | 根 | sporttool
mouse/mice | 老鼠 | 只 | prey
mouse/mice | 鼠标 | 个 | computerpart
crane | 鹤 | 只 | flier
crane | 起重机 | 台 | heavymachine
match/matches | 火柴 | 根 | burning
match/matches | 比赛 | 场 | contest
fan | 风扇 | 台 | switch
fan | 球迷 | 个 | cheering
star | 星星 | 颗 | sky
star | 明星 | 个 | artist
nail | 钉子 | 颗 | hammered
nails | 指甲 | - them | bodypart
chicken | 鸡肉 | - | dish goods
chicken | 鸡 | 只 | farmanimal poultry
glass/glasses | 玻璃杯 | 个 | breakable dishware
glasses | 眼镜 | + 副 | eyewear
"""

# Companies, as bare names. The first is the third reading of "apple".
COMPANIES = """
Apple | 苹果公司 | company
Google | 谷歌 | company
Microsoft | 微软 | company
Huawei | 华为 | company
"""

# English | Chinese | measure word | gender (m, f, x: either) | classes
PEOPLE = """
man/men | 男人 | 个 | m | plain adult
woman/women | 女人 | 个 | f | plain adult
boy | 男孩 | 个 | m | plain child
girl | 女孩 | 个 | f | plain child
child/children | 孩子 | 个 | x | plain child
student | 学生 | 个 | x | child learner
classmate | 同学 | 个 | x | child learner fellow
friend | 朋友 | 个 | x | child fellow
neighbor | 邻居 | 个 | x | adult fellow
teacher | 老师 | 位 | x | teaching
doctor | 医生 | 位 | x | job
professor | 教授 | 位 | x | teaching
nurse | 护士 | 位 | x | job
driver | 司机 | 位 | x | job
farmer | 农民 | 个 | x | job
writer | 作家 | 位 | x | job
singer | 歌手 | 位 | x | job
lawyer | 律师 | 位 | x | job
worker | 工人 | 个 | x | job
manager | 经理 | 位 | x | job
scientist | 科学家 | 位 | x | job
engineer | 工程师 | 位 | x | job
reporter | 记者 | 位 | x | job
waiter | 服务员 | 个 | m | adult worker
actress/actresses | 女演员 | 个 | f | adult worker
soldier | 士兵 | 个 | x | job
king | 国王 | 位 | m | royal
queen | 女王 | 位 | f | royal
prince | 王子 | 位 | m | royal
princess/princesses | 公主 | 位 | f | royal
tourist | 游客 | 个 | x | adult
"""

# Kin take a possessor without 的: my mother, 我妈妈. The plural takes 的 and 们: my sisters, 我的姐姐们.
KIN = """
mother/- | 妈妈 | 个 | f | adult
father/- | 爸爸 | 个 | m | adult
sister | 姐姐 | 个 | f | child
brother | 弟弟 | 个 | m | child
grandmother/- | 奶奶 | 个 | f | adult
grandfather/- | 爷爷 | 个 | m | adult
uncle | 叔叔 | 个 | m | adult
aunt | 阿姨 | 个 | f | adult
son | 儿子 | 个 | m | child
daughter | 女儿 | 个 | f | child
nephew | 侄子 | 个 | m | child
niece | 侄女 | 个 | f | child
"""

# English | Chinese | gender
NAMES = """
Tom | 汤姆 | m
Jack | 杰克 | m
Peter | 彼得 | m
David | 大卫 | m
Mike | 迈克 | m
Paul | 保罗 | m
Mary | 玛丽 | f
Anna | 安娜 | f
Lucy | 露西 | f
Lily | 莉莉 | f
Emma | 艾玛 | f
Alice | 爱丽丝 | f
"""

# English | Chinese | preposition | article | Chinese localiser | what is done there | classes
PLACES = """
park | 公园 | in | the | 里 | outdoors exercise rest meet photo draw read sing | public
garden | 花园 | in | the | 里 | outdoors rest grow draw read drink | open
school | 学校 | at | the | 里 | study outdoors meet teach sing | public
classroom | 教室 | in | the | 里 | study read write draw teach sing | room
library | 图书馆 | in | the | 里 | study read write borrow | public
office | 办公室 | in | the | 里 | write work meet | room
kitchen | 厨房 | in | the | 里 | cook eat drink wash | room
bathroom | 浴室 | in | the | 里 | wash | room
bedroom | 卧室 | in | the | 里 | sleep read listen rest | room
hospital | 医院 | in | the | 里 | work heal | public
restaurant | 餐馆 | in | the | 里 | eat drink meet work | public
shop | 商店 | in | the | 里 | buy work | public
supermarket | 超市 | in | the | 里 | buy work | public
market | 市场 | at | the | 上 | buy | public
museum | 博物馆 | in | the | 里 | photo work meet draw | public seenplace
zoo | 动物园 | at | the | 里 | nature photo feed outdoors | public seenplace
palace | 宫殿 | in | the | 里 | photo | public seenplace
castle | 城堡 | in | the | 里 | photo | public seenplace
station | 车站 | at | the | '' | wait meet work | public
airport | 机场 | at | the | '' | wait meet work | public
hotel | 酒店 | at | the | 里 | sleep rest meet work | public
gym | 健身房 | in | the | 里 | exercise | public
factory | 工厂 | in | the | 里 | work repair | public seenplace
farm | 农场 | on | the | 里 | feed grow work | open trip seenplace
village | 村子 | in | the | 里 | photo grow | open trip
forest | 森林 | in | the | 里 | nature walk photo camp | open trip
beach | 海滩 | on | the | 上 | outdoors exercise rest photo swim sing | open trip
street | 街 | on | the | 上 | walk meet photo | open
yard | 院子 | in | the | 里 | outdoors outside rest grow feed wash repair | open
theater | 剧院 | in | the | 里 | listen sing | public
cinema | 电影院 | in | the | 里 | film | public
university | 大学 | at | the | 里 | study teach work | public seenplace
pool | 游泳池 | in | the | 里 | swim | public
bank | 银行 | at | the | 里 | money | office
bank | 河岸 | on | the | 上 | fish river camp | river
mountain | 山 | on | the | 上 | nature camp photo | open
Beijing | 北京 | in | '' | '' | photo work study | city
Shanghai | 上海 | in | '' | '' | photo work study | city
London | 伦敦 | in | '' | '' | photo work study | city
Paris | 巴黎 | in | '' | '' | photo work study | city
China | 中国 | in | '' | '' | photo work study | city
Japan | 日本 | in | '' | '' | photo work study | city
"""

# subject | object | possessive | Chinese | what it refers to | agreement
PRONOUNS = """
I | me | my | 我 | me | first
you | you | your | 你 | you | plain
we | us | our | 我们 | us | plain
he | him | his | 他 | he | third
she | her | her | 她 | she | third
it | it | its | 它 | it | third
they | them | their | 他们 | they-m | plain
they | them | their | 她们 | they-f | plain
they | them | their | 它们 | they-n | plain
"""
