"""Short forms of given names in English that no similarity of letters finds."""

from typing import Final

_GROUPS: Final = """
abigail abby gail; abraham abe; agnes nessie; albert al bert bertie; alexander alex alec sandy sasha;
alexandra alex sandra lexi; alfred alf alfie fred; alice ali; amanda mandy; andrew andy drew; anne ann anna
annie nancy nan hannah; anthony tony ant; archibald archie; arthur art; augustus gus august; barbara barb
babs; bartholomew bart; benjamin ben benny; bernard bernie; beatrice bea trixie; bridget biddy bridie;
caroline carrie carol; catherine katherine kathryn kate kathy cathy katie kitty kay cate; charles charlie chas
chuck charley; charlotte lottie charlie; christina christine tina chris; christopher chris kit topher; clement
clem; cornelius neil con; cynthia cindy; daniel dan danny; david dave davy davey; deborah debbie deb; dennis
denny; donald don donnie; dorothy dot dolly dottie; edmund ed ned ted; edward ed eddie ned ted teddy; eleanor
ellie nell nora lena; elizabeth liz beth betty eliza elsie lizzie bess libby lisa betsy; emily em emma millie;
ernest ernie; eugene gene; eugenia genie; ferdinand ferdie; florence flo flossie; frances fran fanny frankie;
francis frank fran; franklin frank; frederick fred freddie fritz freddy; gabriel gabe; geoffrey jeffrey geoff
jeff; george georgie; gerald gerry jerry; gerard gerry; gertrude gertie trudy; gilbert gil bert; gregory greg;
gwendoline gwen; harold harry hal; harriet hattie harry; helen nell ellen lena; henrietta etta hetty; henry
harry hal hank; herbert bert herb bertie; horace horry; hubert hugh bert; isaac ike zac; isabel isabella bella
ibby izzy; jacob jake; james jim jimmy jamie jem; jane janie jenny; janet jan; jasper jas; jennifer jen jenny;
jeremiah jerry; jessica jess jessie; joan joanie; joanna jo; john jack johnny jon; jonathan jon jonny; joseph
joe joey; josephine jo josie; joshua josh; judith judy; julia julie; kenneth ken kenny; laurence lawrence
larry laurie; leonard leo len lenny; leopold leo; leslie les; lewis louis lou lew; lillian lily lil; louisa
louise lou; lucy lucinda lucia; magdalene lena; marcus mark; margaret maggie meg peg peggy madge daisy rita
greta marge; martha patty mattie; martin marty; mary molly polly may mamie maria marie; matilda tilly mattie;
matthew matt; maurice morris moe; maximilian max; melissa mel missy; michael mike mick mickey mikey; mildred
millie; montague monty; nathaniel nathan nat nate; nicholas nick nicky colin klaus; nicola nicky; norman norm;
oliver ollie noll; olivia liv livvy; oscar ossie; oswald ozzie; pamela pam; patricia pat patty trish tricia;
patrick pat paddy; penelope penny; percival percy; peter pete; philip phil pip; priscilla cilla; rachel rae;
randolph randy; raymond ray; rebecca becky becca; reginald reg reggie; richard dick rick ricky richie rich;
robert bob bobby rob robbie bert; roderick rod rory; rodney rod; roger rog; roland rollo; ronald ron ronnie;
rosemary rose rosie; rudolph rudy rolf; rupert bert; samantha sam; samuel sam sammy; sarah sally sadie;
sebastian seb; silvester sly; simon si; solomon sol; sophia sophie; stanley stan; stephen steven steve stevie;
stuart stu; susan sue susie suzy susanna; sylvester sly; terence terry; theodore ted theo teddy; theresa tess
terry tessa; thomas tom tommy; timothy tim timmy; tobias toby; ursula ursie; valentine val; valerie val;
veronica ronnie; victor vic; victoria vicky tori; vincent vince; virginia ginny; walter walt wally; wilfred
wilf; wilhelmina mina minnie; william bill billy will willie liam; winifred winnie freda; zachary zack zach
"""
GROUPS_OF: Final[dict[str, frozenset[int]]] = {}
for _number, _group in enumerate(_GROUPS.split(";")):
    for _name in _group.split():
        GROUPS_OF[_name] = GROUPS_OF.get(_name, frozenset()) | {_number}

_NONE: Final[frozenset[int]] = frozenset()


def same_person_may_be_called(a: str, b: str) -> bool:
    """Return whether both names belong to one group: `bob` and `robert`, `ted` and `edward`."""
    return not GROUPS_OF.get(a, _NONE).isdisjoint(GROUPS_OF.get(b, _NONE))
