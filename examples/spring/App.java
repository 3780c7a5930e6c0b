import java.security.MessageDigest;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.core.env.Environment;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;

@EnableAutoConfiguration
@RestController
public class App {
  private final Environment environment;

  App(Environment environment) {
    this.environment = environment;
  }

  public static void main(String[] arguments) {
    SpringApplication.run(App.class, arguments);
  }

  /** 200 for whoever has the token as it is now. Beans with @RefreshScope are made anew after a refresh. */
  @GetMapping("/")
  ResponseEntity<Void> hello(@RequestHeader(name = "Authorization", defaultValue = "") String given) {
    var expected = "Bearer " + environment.getRequiredProperty("app.token");
    var good = MessageDigest.isEqual(given.getBytes(), expected.getBytes());
    return ResponseEntity.status(good ? 200 : 401).build();
  }
}
