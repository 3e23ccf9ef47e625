import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.*;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Publish with Segment's Java client: URL KEY USER. */
class AnalyticsJava {
  public static void main(String[] arguments) throws Exception {
    String url = arguments[0], key = arguments[1], user = arguments[2];
    List<MessageBuilder<?, ?>> messages = List.of(
        IdentifyMessage.builder().userId(user).traits(Map.of("plan", "gold", "city", "Zürich")),
        TrackMessage.builder("Order Completed").userId(user).properties(Map.of("total", 40.9)),
        TrackMessage.builder("Order Completed").userId(user).properties(Map.of("total", 5)),
        PageMessage.builder("Home").userId(user),
        ScreenMessage.builder("Start").userId(user),
        GroupMessage.builder("g1").userId(user).traits(Map.of("name", "Acme")));
    CountDownLatch answered = new CountDownLatch(messages.size());
    Analytics client = Analytics.builder(key).endpoint(url).callback(new Callback() {
      @Override public void success(Message message) { answered.countDown(); }
      @Override public void failure(Message message, Throwable error) { System.err.println(error); }
    }).build();
    messages.forEach(client::enqueue);
    client.flush();
    boolean all = answered.await(20, TimeUnit.SECONDS);
    client.shutdown();
    System.exit(all ? 0 : 1);
  }
}
