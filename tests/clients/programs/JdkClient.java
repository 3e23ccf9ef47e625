import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Base64;

/** Publish with the JDK's own HTTP client as it comes, which offers h2c: URL KEY USER. */
class JdkClient {
  private static final HttpClient CLIENT = HttpClient.newHttpClient();

  public static void main(String[] arguments) throws Exception {
    send(arguments, "identify", "{\"userId\": \"%s\", \"traits\": {\"plan\": \"gold\", \"city\": \"Zürich\"}}");
    send(arguments, "track", "{\"userId\": \"%s\", \"event\": \"Order Completed\", \"properties\": {\"total\": 40.9}}");
    send(arguments, "track", "{\"userId\": \"%s\", \"event\": \"Order Completed\", \"properties\": {\"total\": 5}}");
  }

  private static void send(String[] arguments, String type, String body) throws Exception {
    String basic = Base64.getEncoder().encodeToString((arguments[1] + ":").getBytes());
    HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/" + type)).header("Authorization", "Basic " + basic)
        .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body.formatted(arguments[2]))).build();
    HttpResponse<String> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) throw new IllegalStateException(answer.statusCode() + " " + answer.body());
  }
}
