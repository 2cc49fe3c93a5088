package io.pyseriniext;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;

/**
 * Reads sparse vectors from lines of JSON: Pyserini's JsonVectorCollection, and what
 * sentence-transformers and OpenSearch users keep.
 *
 * <p>One for each thread; the last line that was read is in its fields.
 */
final class SparseJson {
  static final List<String> IDS = List.of("id", "_id", "docid");
  static final List<String> VECTORS = List.of("vector", "sparse_embedding", "weights");

  /** Lucene's limit on the UTF-8 of a term. */
  private static final int LONGEST = 32766;

  private static final ObjectMapper WRITER = new ObjectMapper();

  private final JsonFactory factory =
      new NamesKept(
          new JsonFactoryBuilder()
              .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
              .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW)
              .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
              .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS));
  private final List<String> vectors;

  String docid;
  int count;
  String[] tokens = new String[256];
  double[] weights = new double[256];
  String title;
  String text;
  String contents;

  /** @param field of the vector; empty for the usual ones */
  SparseJson(String field) {
    vectors = field.isEmpty() ? VECTORS : List.of(field);
  }

  void read(byte[] data, int start, int end) {
    docid = title = text = contents = null;
    count = 0;
    try (JsonParser in = factory.createParser(data, start, end - start)) {
      read(in);
      if (in.nextToken() != null) {
        throw new IllegalArgumentException("more than one JSON value on the line");
      }
    } catch (JsonProcessingException error) {
      throw new IllegalArgumentException(
          "not JSON (" + error.getOriginalMessage() + "); expected one object a line");
    } catch (IOException error) {
      throw new IllegalArgumentException("not JSON in UTF-8 (" + error.getMessage() + ")");
    }
  }

  private void read(JsonParser in) throws IOException {
    if (in.nextToken() != JsonToken.START_OBJECT) {
      throw new IllegalArgumentException("expected an object with an id and a vector");
    }
    int rank = IDS.size();
    String vector = null;
    while (in.nextToken() == JsonToken.FIELD_NAME) {
      String name = in.currentName();
      JsonToken value = in.nextToken();
      if (IDS.contains(name) && value != JsonToken.VALUE_NULL) {
        if (IDS.indexOf(name) < rank) {
          rank = IDS.indexOf(name);
          docid = docid(in, value);
        }
        in.skipChildren();
      } else if (vectors.contains(name) && value != JsonToken.VALUE_NULL) {
        if (vector != null) {
          throw new IllegalArgumentException("two vectors, " + vector + " and " + name);
        }
        vector = name;
        vector(in, name, value);
      } else if (value == JsonToken.VALUE_STRING) {
        switch (name) {
          case "title" -> title = in.getText();
          case "text" -> text = in.getText();
          case "contents" -> contents = in.getText();
          default -> {}
        }
      } else {
        in.skipChildren();
      }
    }
    if (docid == null) {
      throw new IllegalArgumentException(
          "no document id; expected a string under " + String.join(", ", IDS));
    }
    if (vector == null) {
      throw new IllegalArgumentException(
          "no vector; expected {token: weight} under " + String.join(", ", vectors));
    }
  }

  /** Returns the text as Pyserini has it, or an empty string. */
  String fullText() {
    if (contents != null) {
      return contents;
    }
    String body = text == null ? "" : text;
    return title == null || title.isEmpty() ? body : title + "\n" + body;
  }

  /** Returns what is stored of a document: its id and text as JSON, without the vector. */
  String raw() {
    return WRITER.createObjectNode().put("id", docid).put("contents", fullText()).toString();
  }

  private String docid(JsonParser in, JsonToken value) throws IOException {
    if (value != JsonToken.VALUE_STRING && value != JsonToken.VALUE_NUMBER_INT) {
      throw new IllegalArgumentException("the document id is no string: " + in.getText());
    }
    String id = in.getText();
    if (id.isEmpty() || id.chars().anyMatch(SparseJson::space)) {
      throw new IllegalArgumentException(
          "document id \"" + id + "\" is empty or contains white space");
    }
    return id;
  }

  private static boolean space(int character) {
    return Character.isWhitespace(character) || Character.isSpaceChar(character) || character == 133;
  }

  private void vector(JsonParser in, String name, JsonToken value) throws IOException {
    if (value != JsonToken.START_OBJECT) {
      throw new IllegalArgumentException(name + " is no object; expected {token: weight}");
    }
    while (in.nextToken() == JsonToken.FIELD_NAME) {
      String token = in.currentName();
      value = in.nextToken();
      if (!value.isNumeric()) {
        throw new IllegalArgumentException(
            String.format("the weight of %s is %s; expected a number", shown(token), in.getText()));
      }
      double weight = in.getDoubleValue();
      if (!(weight >= 0 && weight < Double.POSITIVE_INFINITY)) {
        throw new IllegalArgumentException(
            String.format(
                "the weight of %s is %s; expected a finite number that is not negative",
                shown(token), in.getText()));
      }
      if (token.isEmpty()) {
        throw new IllegalArgumentException("a token is empty");
      }
      if (token.length() > LONGEST / 3 && utf8Length(token) > LONGEST) {
        throw new IllegalArgumentException(
            String.format(
                "%s is a token of more than %d bytes, which is Lucene's limit",
                shown(token), LONGEST));
      }
      if (count == tokens.length) {
        tokens = Arrays.copyOf(tokens, 2 * count);
        weights = Arrays.copyOf(weights, 2 * count);
      }
      tokens[count] = token;
      weights[count++] = weight;
    }
  }

  private static int utf8Length(String token) {
    return token.getBytes(StandardCharsets.UTF_8).length;
  }

  static String shown(String token) {
    return token.length() <= 60 ? "\"" + token + "\"" : "\"" + token.substring(0, 60) + "…\"";
  }
}
