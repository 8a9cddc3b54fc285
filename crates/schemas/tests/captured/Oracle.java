import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.CompatibilityChecker;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.CompatibilityLevel;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.avro.AvroSchema;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;

/** Reads `reader TAB writer` lines; answers with what Avro 1.12.1 makes of the texts, and what Confluent's checker (7.5.3) finds. */
public class Oracle {
  static AvroSchema parse(String text) { return new AvroSchema(text, Collections.emptyList(), Collections.emptyMap(), 1, true); }

  static String describe(String text) {
    try {
      Schema schema = new Schema.Parser().parse(text);
      return schema + "\t" + SchemaNormalization.toParsingForm(schema) + "\t" + SchemaNormalization.parsingFingerprint64(schema)
          + (usesBeforeDefinition(text) ? "\tFORWARD" : "\t");
    } catch (Throwable e) { return older(text, "REJECTED " + String.valueOf(e.getMessage()).replaceAll("\\s+", " ") + "\t\t\t"); }
  }

  /** Avro 1.11 finds a name without a namespace from inside one; 1.12 no longer does. What either takes, a registry meets. */
  static String older(String text, String refusal) {
    try {
      org.apache.flink.avro.shaded.org.apache.avro.Schema schema = parse(text).rawSchema();
      return schema + "\t" + org.apache.flink.avro.shaded.org.apache.avro.SchemaNormalization.toParsingForm(schema) + "\t"
          + org.apache.flink.avro.shaded.org.apache.avro.SchemaNormalization.parsingFingerprint64(schema) + "\tOLDER";
    } catch (Throwable e) { return refusal; }
  }

  /** Avro 1.12 lets a name stand before its definition; 1.11 did not, nor do the other libraries. */
  static boolean usesBeforeDefinition(String text) {
    try {
      parse(text);
      return false;
    } catch (Throwable e) { return String.valueOf(e.getMessage()).matches("(?s).*(Undefined name|is not a defined name|Type not supported).*"); }
  }

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, "UTF-8");
    for (String line; (line = in.readLine()) != null; ) {
      String[] p = line.split("\t");
      StringBuilder b = new StringBuilder(describe(p[0])).append('\t').append(describe(p[1]));
      for (String level : new String[] {"BACKWARD", "FULL"}) {
        String verdict;
        try {
          List<String> found = CompatibilityChecker.checker(CompatibilityLevel.valueOf(level)).isCompatible(parse(p[0]), List.of(parse(p[1])));
          verdict = String.join("\u0001", found);
        } catch (Throwable e) { verdict = "UNPARSED"; }
        b.append('\t').append(verdict.replaceAll("[\\t\\n]", " "));
      }
      out.println(b);
    }
    out.flush();
  }
}
