"""Every text of the privacy centre, in English and Chinese.

Keys begin with the page that they stand on. `called` says what purposes, categories and channels are called.
"""

from collections.abc import Mapping
from typing import Final

from schemas.bilingual import Words
from schemas.config import Config

CENTRE: Final[Mapping[str, Words]] = {
    # the frame
    "centre_title": Words("Privacy centre", "隐私中心"),
    "centre_pages": Words("Pages", "页面"),
    "centre_leave": Words("Leave", "退出"),
    "centre_contact": Words("Questions? You reach us here:", "如有疑问，请联系我们："),
    "centre_foot": Words(
        "This visit ends by itself when you do nothing for a while. On a shared device, press “Leave”.",
        "一段时间没有操作后，本次访问会自动结束。如果是公用设备，请点击“退出”。",
    ),
    "nav_overview": Words("Overview", "概览"),
    "nav_choices": Words("Choices", "我的选择"),
    "nav_data": Words("Your data", "我的数据"),
    "nav_download": Words("Download", "下载"),
    "nav_requests": Words("Requests", "请求"),
    "nav_erase": Words("Erase", "删除"),
    "saved_now": Words("Saved. Your choice is in force.", "已保存，您的选择现已生效。"),
    "saved_soon": Words(
        "Noted. Your choice takes effect within seconds.", "已记录，您的选择将在几秒内生效。"
    ),
    # the way in
    "enter_title": Words("Your privacy centre", "您的隐私中心"),
    "enter_lead": Words(
        "Here you see what {holder} holds about you, decide what it may be used for, and can have it"
        " corrected or erased.",
        "在这里，您可以查看{holder}持有的与您有关的数据，决定这些数据可以用于什么，也可以要求更正或删除。",
    ),
    "enter_once": Words(
        "This link opens once, in this browser. Nothing is changed until you say so.",
        "此链接只能在当前浏览器中打开一次。在您作出决定之前，不会更改任何内容。",
    ),
    "enter_open": Words("Open my privacy centre", "打开我的隐私中心"),
    "left_title": Words("You have left", "您已退出"),
    "left_lead": Words(
        "This browser can no longer see your data. To come back, ask for a new link.",
        "此浏览器已无法再查看您的数据。如需再次访问，请索取新的链接。",
    ),
    # overview
    "overview_lead": Words(
        "What {holder} may do with your data is up to you. You can change your mind at any time.",
        "{holder}可以如何使用您的数据，由您决定。您可以随时更改。",
    ),
    "mode_title": Words("What may your data be used for?", "您的数据可以用于什么？"),
    "mode_hint": Words(
        "Choose one. What you choose applies to everything that is done from now on.",
        "请选择一项。您的选择适用于此后的所有处理活动。",
    ),
    "mode_basic": Words("Basic", "基本服务"),
    "mode_basic_hint": Words(
        "Only what the service itself and its security need.", "仅用于提供服务本身及保障安全。"
    ),
    "mode_basic+marketing": Words("Basic and marketing", "基本服务＋营销信息"),
    "mode_basic+marketing_hint": Words(
        "You also hear of offers and news, and somebody may write or call.",
        "您还会收到优惠和资讯，我们的工作人员也可能与您联系。",
    ),
    "mode_basic+personalised": Words("Basic and personal recommendations", "基本服务＋个性化推荐"),
    "mode_basic+personalised_hint": Words(
        "What you see is also chosen to suit you, from what you did before. No marketing.",
        "我们还会根据您以往的行为，为您挑选合适的内容，但不会用于营销。",
    ),
    "mode_other": Words(
        "At present none of the three applies exactly. “Choose one by one” shows what does.",
        "您目前的设置与以上三项都不完全一致，可在“逐项设置”中查看。",
    ),
    "mode_save": Words("Save", "保存"),
    "mode_fine": Words("Choose one by one", "逐项设置"),
    "card_choices": Words(
        "Decide purpose by purpose, and by channel and kind of data.", "按用途、渠道和数据类别逐项决定。"
    ),
    "card_data": Words("See what is held, and why.", "查看我们持有哪些数据，以及原因。"),
    "card_download": Words("Take a copy of everything with you.", "下载一份完整的副本。"),
    "card_requests": Words("Have something corrected, object, or complain.", "要求更正、提出反对或投诉。"),
    "card_erase": Words("Have everything that is held about you erased.", "删除我们持有的有关您的全部数据。"),
    # choices
    "choices_title": Words("Your choices, one by one", "逐项设置"),
    "choices_lead": Words(
        "Each switch is saved at once. A purpose that is off is off as a whole; while it is on, you can leave"
        " out channels and kinds of data.",
        "每个开关在切换后立即保存。关闭某一用途后，其下各项均不适用；用途开启时，您可以单独排除某些渠道或数据类别。",
    ),
    "choices_required": Words("Always on: the service needs it.", "始终开启：这是提供服务所必需的。"),
    "choices_channels": Words("We may reach you by", "可以通过以下渠道联系您"),
    "choices_categories": Words("May use these kinds of data", "可以使用以下类别的数据"),
    "choices_finer": Words("Channels and kinds of data", "渠道与数据类别"),
    "choices_pending": Words("takes effect within seconds", "几秒内生效"),
    "choices_switch": Words("{purpose}: {part}", "{purpose}：{part}"),
    "choices_words": Words("What you have said so far", "您曾作出的选择"),
    "choices_words_lead": Words(
        "Kept as proof, with the time and the place where you said it.",
        "作为凭证保存，并记录作出选择的时间与来源。",
    ),
    "choices_word": Words("{thing}: {word}", "{thing}：{word}"),
    "choices_by": Words("by {channel}, {moment}", "来源：{channel}，{moment}"),
    "choices_version": Words("text {version}", "文本版本 {version}"),
    "choices_proof": Words("proof {proof}", "凭证 {proof}"),
    "channel_own": Words("privacy centre or service desk", "隐私中心或客服"),
    "code_title": Words("Confirm that it is you", "请确认是您本人"),
    "code_lead": Words(
        "“{purpose}” takes a confirmation. We have sent you a code of six digits; it holds for a few"
        " minutes.",
        "“{purpose}”需要您本人确认。我们已向您发送六位数字的验证码，几分钟内有效。",
    ),
    "code_label": Words("The code", "验证码"),
    "code_wrong": Words(
        "This is not the code that was sent, or it does not hold any more. Nothing was changed.",
        "验证码不正确或已失效，未作任何更改。",
    ),
    "code_send": Words("Confirm", "确认"),
    "code_again": Words("Send another code", "重新发送验证码"),
    "code_back": Words("No, go back", "返回"),
    # what is held
    "data_title": Words("What is held about you, and why", "我们持有哪些数据，以及原因"),
    "data_lead": Words(
        "Personal details are partly hidden here, in case somebody looks over your shoulder. The download"
        " shows them in full.",
        "为避免他人看到，此处的个人信息已部分隐藏。下载的文件中会完整显示。",
    ),
    "data_identifiers": Words("How you are recognised", "我们如何识别您"),
    "data_unknown": Words("kept as a code only", "仅以编码形式保存"),
    "data_purposes": Words("Used for: {purposes}", "用于：{purposes}"),
    "data_purposes_none": Words("Not used for anything any more.", "已不再用于任何用途。"),
    "data_of_service": Words("Details of the service", "服务所需的信息"),
    "data_events_count": Words(
        "{count} events, from {first} to {last}.", "共 {count} 条记录，时间为 {first} 至 {last}。"
    ),
    "data_derived": Words("What follows from it", "由此得出的结果"),
    "data_derived_lead": Words(
        "Worked out by computer from what you did. A score says how likely something is, of a hundred.",
        "由计算机根据您的行为得出。评分表示某件事发生的可能性，满分为一百。",
    ),
    "data_stage": Words("Stage", "阶段"),
    "data_segment": Words("Segment", "客户分群"),
    "data_tags": Words("Tags", "标签"),
    "data_scores": Words("Scores", "评分"),
    "data_recipients": Words("Who is told", "数据接收方"),
    "data_recipients_lead": Words(
        "Systems that messages about you may go to, as far as you allow it.",
        "在您允许的范围内，与您有关的信息可能会发送至以下系统。",
    ),
    "data_knows": Words("knows you by: {fields}", "识别您的方式：{fields}"),
    "data_knows_code": Words("knows you by a code only", "仅以编码识别您"),
    "data_kept": Words("For how long", "保存期限"),
    "kept_profile": Words("Your profile", "您的画像"),
    "kept_until_erased": Words("until you have it erased", "直到您要求删除"),
    "kept_while_heard_of": Words(
        "until you have it erased, or {days} days after we last heard of you",
        "直到您要求删除，或在最后一次活动 {days} 天之后",
    ),
    "kept_requests": Words("Your requests, once answered", "您的请求（答复之后）"),
    "kept_events": Words("Events, as they came in", "原始记录"),
    "kept_until_read": Words("until they are read", "处理后即删除"),
    "kept_archive": Words("Archive", "归档"),
    "kept_backup": Words("Backups", "备份"),
    "kept_for_days": Words("{days} days", "{days} 天"),
    "kept_for_copies": Words("the last {copies} copies", "最近 {copies} 份"),
    "kept_by_policy": Words("as the operator keeps it", "按运营方的保存规则"),
    # download
    "download_title": Words("Take your data with you", "下载您的数据"),
    "download_lead": Words(
        "Both files hold everything that is held about you, in full. Keep them where nobody else can read"
        " them.",
        "两种文件都包含我们持有的有关您的全部数据，且完整显示。请妥善保管，避免他人读取。",
    ),
    "download_page": Words("As a page to read", "便于阅读的网页"),
    "download_page_hint": Words("Opens in any browser.", "可用任何浏览器打开。"),
    "download_json": Words("As a file for other services (JSON)", "便于转移的数据文件（JSON）"),
    "download_json_hint": Words("For a program, or another provider.", "供程序或其他服务商使用。"),
    # requests
    "requests_title": Words("Ask for something", "提出请求"),
    "requests_lead": Words(
        "A person reads this and answers by the date that the law sets.",
        "工作人员会阅读您的请求，并在法定期限内答复。",
    ),
    "requests_what": Words("What do you ask for?", "您要提出什么请求？"),
    "right_correct": Words("Correct something that is wrong", "更正错误的数据"),
    "right_object": Words(
        "I object to a use of my data (all that you can choose is switched off at once)",
        "反对将我的数据用于某种用途（所有可选用途将立即关闭）",
    ),
    "right_restrict": Words(
        "Restrict what is done with my data (all that you can choose is switched off at once)",
        "限制对我的数据的处理（所有可选用途将立即关闭）",
    ),
    "right_move": Words("Hand my data to another provider", "将我的数据转移给其他服务商"),
    "right_complain": Words("Complain", "投诉"),
    "right_erase": Words("Erase everything", "删除全部数据"),
    "right_export": Words("A copy of my data", "我的数据副本"),
    "requests_text": Words("In your words", "请用您自己的话说明"),
    "requests_text_hint": Words(
        "Up to {count} characters. Only those who answer can read it; it is kept sealed.",
        "最多 {count} 个字符。内容加密保存，仅供处理请求的人员查阅。",
    ),
    "requests_send": Words("Send", "提交"),
    "requests_sent": Words(
        "Sent. You find it below, with its date.", "已提交。您可以在下方查看请求及其期限。"
    ),
    "requests_wrong": Words("Something is missing", "请补充以下内容"),
    "requests_wrong_right": Words("Choose what you ask for.", "请选择请求的类型。"),
    "requests_wrong_text": Words("Write what it is about.", "请说明具体内容。"),
    "requests_wrong_long": Words("Write at most {count} characters.", "内容最多 {count} 个字符。"),
    "requests_yours": Words("Your requests", "您的请求"),
    "requests_none": Words("You have not asked for anything yet.", "您尚未提出过请求。"),
    "requests_due": Words("asked on {asked}, to be answered by {due}", "提交于 {asked}，最迟于 {due} 答复"),
    "requests_answer": Words("Answer: {answer}", "答复：{answer}"),
    "step_asked": Words("being looked at", "处理中"),
    "step_done": Words("done", "已完成"),
    "step_refused": Words("refused", "已拒绝"),
    "step_cancelled": Words("taken back", "已撤回"),
    "step_detached": Words("under way", "进行中"),
    "step_settled": Words("under way", "进行中"),
    "step_gone": Words("under way", "进行中"),
    "step_swept": Words("under way", "进行中"),
    # erasing
    "erase_title": Words("Erase everything", "删除全部数据"),
    "erase_lead": Words(
        "You can have everything erased that {holder} holds about you. This is what happens then:",
        "您可以要求删除{holder}持有的有关您的全部数据。删除后将会：",
    ),
    "erase_what_profile": Words(
        "Your profile, your history and everything that was worked out from it are removed.",
        "移除您的画像、历史记录以及由此得出的所有结果。",
    ),
    "erase_what_key": Words(
        "The key that your personal details are sealed with is destroyed: copies in backups become"
        " unreadable.",
        "销毁用于加密您个人信息的密钥，备份中的副本将无法再读取。",
    ),
    "erase_what_told": Words(
        "The systems that know you are asked to delete you, too.", "通知掌握您信息的其他系统一并删除。"
    ),
    "erase_what_receipt": Words("You get a signed receipt of it.", "您会得到一份经签名的删除回执。"),
    "erase_final": Words(
        "This cannot be undone. If you use the service again later, you begin as somebody new.",
        "此操作无法撤销。如果您以后再次使用服务，将被视为新用户。",
    ),
    "erase_copy": Words("Take a copy with you first", "先下载一份副本"),
    "erase_next": Words("Continue", "继续"),
    "confirm_title": Words("Are you sure?", "您确定吗？"),
    "confirm_lead": Words(
        "Everything that {holder} holds about you is erased for good. Nobody can bring it back.",
        "{holder}持有的有关您的全部数据将被永久删除，任何人都无法恢复。",
    ),
    "confirm_sure": Words("Yes, erase everything about me.", "是的，请删除有关我的全部数据。"),
    "confirm_unsure": Words(
        "Tick the box to say that you are sure. Nothing was erased.", "请勾选以确认。目前尚未删除任何内容。"
    ),
    "confirm_erase": Words("Erase for good", "永久删除"),
    "confirm_back": Words("No, go back", "返回"),
    "erasing_title": Words("Your data is being erased", "正在删除您的数据"),
    "erasing_title_begins": Words("Your data will be erased", "您的数据将被删除"),
    "erasing_title_done": Words("Your data was erased", "您的数据已删除"),
    "erasing_lead": Words(
        "It goes on by itself; you can close this page. It is done by {due} at the latest.",
        "删除会自动进行，您可以关闭此页面。最迟于 {due} 完成。",
    ),
    "erasing_lead_begins": Words(
        "It begins on {begins}. Until then you can take it back.",
        "将于 {begins} 开始。在此之前您可以撤回。",
    ),
    "erasing_back": Words("Take it back, keep my data", "撤回请求，保留我的数据"),
    "erasing_lead_done": Words(
        "Nothing is held about you any more. Keep the receipt: it proves that you were erased.",
        "我们已不再持有有关您的数据。请保存好回执，它可以证明您的数据已被删除。",
    ),
    "erasing_steps": Words("How far it has come", "进度"),
    "erasing_asked": Words("Asked for", "已提出请求"),
    "erasing_detached": Words("Nothing leads to you any more", "已无法再关联到您"),
    "erasing_settled": Words("Your key is destroyed", "您的密钥已销毁"),
    "erasing_gone": Words("Your profile is removed", "您的画像已移除"),
    "erasing_swept": Words("Queues are searched and cleared", "队列已检查并清除"),
    "erasing_done": Words("Receivers have answered, the receipt is signed", "接收方已答复，回执已签名"),
    "erasing_waits": Words("not yet", "尚未完成"),
    "erasing_receivers": Words("Systems that were asked to delete you", "已被要求删除您信息的系统"),
    "said_taken": Words("has taken it", "已接受"),
    "said_refused": Words("has refused it", "已拒绝"),
    "said_off": Words("is switched off", "已停用"),
    "said_waiting": Words("has not answered yet", "尚未答复"),
    "erasing_again": Words("Look again", "刷新进度"),
    "erasing_receipt": Words("Download the receipt", "下载回执"),
    "nobody_title": Words("Nothing is held about you", "我们未持有您的数据"),
    "nobody_lead": Words(
        "There is nothing here that belongs to this link any more: it was erased, or it never came in.",
        "此链接已没有对应的数据：数据已被删除，或从未收到过。",
    ),
    # what goes wrong
    "sorry_title": Words("This does not work", "无法打开"),
    "sorry_forged": Words(
        "This link is not complete, or it was changed on its way. Copy it as a whole, or ask for a new one.",
        "此链接不完整，或在传送过程中被更改。请完整复制链接，或索取新的链接。",
    ),
    "sorry_expired": Words("This link has expired. Ask for a new one.", "此链接已过期，请索取新的链接。"),
    "sorry_used": Words(
        "This link was used before, and opens only once. Ask for a new one. If it was not you, say so.",
        "此链接已被使用过，且只能打开一次。请索取新的链接。如果不是您本人打开的，请告知我们。",
    ),
    "sorry_outside": Words(
        "You are not in the privacy centre, or your visit has ended. Open it with a new link.",
        "您尚未进入隐私中心，或本次访问已结束。请使用新的链接打开。",
    ),
    "sorry_nowhere": Words("There is no such page.", "没有这个页面。"),
    "sorry_form": Words(
        "This form was not sent by our page, or the page is too old. Nothing was changed: go back, reload the"
        " page, and try again.",
        "此表单并非由我们的页面提交，或页面已过时。未作任何更改，请返回并刷新页面后重试。",
    ),
    "sorry_cannot": Words(
        "This cannot be done here. Nothing was changed. Please write to us.",
        "此操作无法在此完成，未作任何更改。请与我们联系。",
    ),
    "sorry_often": Words(
        "This was asked for too often. Wait a minute, then try again.", "操作过于频繁，请一分钟后再试。"
    ),
    "sorry_away": Words(
        "Your data cannot be reached just now. Nothing was changed. Try again in a moment.",
        "暂时无法访问您的数据，未作任何更改。请稍后再试。",
    ),
}
# What a configuration usually names: purposes, categories of data, channels, fields.
KNOWN: Final[Mapping[str, Words]] = {
    "service": Words("The service itself", "提供服务"),
    "security": Words("Security", "保障安全"),
    "marketing": Words("Marketing", "营销信息"),
    "sales": Words("Sales: somebody writes or calls", "销售联系"),
    "personalisation": Words("Personal recommendations", "个性化推荐"),
    "sharing": Words("Sharing with others", "与第三方共享"),
    "contact": Words("Contact details", "联系方式"),
    "location": Words("Places", "位置信息"),
    "demographic": Words("Age, gender, occupation", "年龄、性别、职业等"),
    "social": Words("Social accounts", "社交账号"),
    "device": Words("Devices", "设备信息"),
    "text": Words("What you wrote", "您填写的文字"),
    "biometric": Words("Face, fingerprint, voice", "人脸、指纹、声纹"),
    "transaction": Words("Purchases", "交易记录"),
    "behaviour": Words("What you did and looked at", "浏览与行为"),
    "email": Words("E-mail", "电子邮件"),
    "sms": Words("SMS", "短信"),
    "phone": Words("Phone", "电话"),
    "push": Words("Push messages", "推送通知"),
    "app": Words("App", "应用"),
    "web": Words("Website", "网站"),
    "store": Words("Store", "门店"),
    "desk": Words("Service desk", "客服"),
    "wechat": Words("WeChat", "微信"),
    "wecom": Words("WeCom", "企业微信"),
    "dingtalk": Words("DingTalk", "钉钉"),
    "feishu": Words("Feishu", "飞书"),
    "mail": Words("Letter", "信函"),
    "webhook": Words("another system", "其他系统"),
    "kafka": Words("an internal queue", "内部消息队列"),
    "redis": Words("an internal queue", "内部消息队列"),
    "file": Words("a file", "文件"),
    "orders": Words("Purchases so far", "累计购买次数"),
    "spent": Words("Spent so far", "累计消费金额"),
    "name": Words("Name", "姓名"),
    "firstName": Words("First name", "名"),
    "lastName": Words("Last name", "姓"),
    "age": Words("Age", "年龄"),
    "gender": Words("Gender", "性别"),
    "birthday": Words("Birthday", "生日"),
    "occupation": Words("Occupation", "职业"),
    "address": Words("Address", "地址"),
    "city": Words("City", "城市"),
    "country": Words("Country", "国家或地区"),
    "review": Words("Review", "评价"),
    "user_id": Words("Account", "账号"),
    "anonymous": Words("Browser or app", "浏览器或应用"),
    "identifier": Words("Identifier", "标识"),
    "churn": Words("That you do not come back", "流失可能"),
    "purchase": Words("That you buy something", "购买可能"),
    "deal": Words("That an offer becomes a deal", "成交可能"),
    "complaint": Words("That you complain", "投诉可能"),
    "fraud": Words("That a purchase is fraud", "欺诈可能"),
    "new": Words("new", "新客户"),
    "active": Words("active", "活跃"),
    "slipping": Words("seldom here lately", "活跃度下降"),
    "lost": Words("not here for long", "长期未活跃"),
    "won_back": Words("back again", "重新活跃"),
}


def called(config: Config) -> dict[str, Words]:
    """Return what things are called: as the configuration says, or as they usually are."""
    own = {entry.name: Words(entry.en, entry.zh) for entry in config.centre.called}
    return {**KNOWN, **own}
