import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.http.HttpMessageFactory;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.UUID;

/** Publish by the CloudEvents SDK for Java in binary mode, through the JDK's own HTTP client: URL KEY USER. */
class CloudEventsJava {
  private static final HttpClient CLIENT = HttpClient.newHttpClient();

  public static void main(String[] arguments) throws Exception {
    send(arguments, "identify", "{\"traits\": {\"plan\": \"gold\", \"city\": \"Zürich\"}}");
    send(arguments, "Order Completed", "{\"total\": 40.9}");
    send(arguments, "Order Completed", "{\"total\": 5}");
  }

  private static void send(String[] arguments, String type, String data) throws Exception {
    CloudEvent event = CloudEventBuilder.v1().withId(UUID.randomUUID().toString()).withType(type)
        .withSource(URI.create("https://shop.example/")).withSubject(arguments[2])
        .withData("application/json", data.getBytes(StandardCharsets.UTF_8)).build();
    HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/events"))
        .header("Authorization", "Bearer " + arguments[1]);
    HttpMessageFactory.createWriter(request::header, body -> request.POST(HttpRequest.BodyPublishers.ofByteArray(body))).writeBinary(event);
    HttpResponse<String> answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) throw new IllegalStateException(answer.statusCode() + " " + answer.body());
  }
}
