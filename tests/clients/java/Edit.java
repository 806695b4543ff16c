import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Edits by java.net.http as it is, one after the other: {@code Edit.java URL KEY PICTURE PROMPT...} */
class Edit {
    private static final String BOUNDARY = "wan-java-boundary";

    public static void main(String[] told) throws Exception {
        // Nothing is set: over http it offers HTTP/2 with its first request, by Upgrade: h2c.
        HttpClient client = HttpClient.newHttpClient();
        byte[] picture = Files.readAllBytes(Path.of(told[2]));
        for (int n = 3; n < told.length; n++) {
            BodyPublisher sized = BodyPublishers.ofByteArray(form(picture, told[n]));
            // Every second one is sent in chunks: a publisher that does not tell its length.
            BodyPublisher body = n % 2 == 0 ? BodyPublishers.fromPublisher(sized) : sized;
            HttpRequest asked = HttpRequest.newBuilder(URI.create(told[0] + "/images/edits"))
                .header("Authorization", "Bearer " + told[1])
                .header("Content-Type", "multipart/form-data; boundary=" + BOUNDARY)
                .POST(body)
                .build();
            HttpResponse<String> answer = client.send(asked, BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body().strip());
        }
    }

    private static byte[] form(byte[] picture, String prompt) throws Exception {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        body.write(part("name=\"prompt\"", prompt + "\r\n"));
        body.write(part("name=\"image\"; filename=\"photo.png\"", ""));
        body.write(picture);
        body.write(("\r\n--" + BOUNDARY + "--\r\n").getBytes(StandardCharsets.UTF_8));
        return body.toByteArray();
    }

    private static byte[] part(String disposition, String text) {
        String head = "--" + BOUNDARY + "\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n";
        return (head + text).getBytes(StandardCharsets.UTF_8);
    }
}
