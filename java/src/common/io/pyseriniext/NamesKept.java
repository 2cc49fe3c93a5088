package io.pyseriniext;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.io.IOContext;
import com.fasterxml.jackson.core.json.UTF8StreamJsonParser;
import com.fasterxml.jackson.core.sym.ByteQuadsCanonicalizer;
import java.io.IOException;

/**
 * Makes parsers, for one thread, that share one table of field names.
 *
 * <p>Jackson copies its table for every parser that meets a new name, and empties it over 6000 of
 * them. The names in sparse vectors are a vocabulary; making them again is a fifth of the cost of an
 * index. The table starts anew at some 50,000 names.
 */
final class NamesKept extends JsonFactory {
  private static final long serialVersionUID = 1;

  private final transient ByteQuadsCanonicalizer names;

  NamesKept(JsonFactoryBuilder settings) {
    super(settings);
    names = ByteQuadsCanonicalizer.createRoot().makeChild(_factoryFeatures);
  }

  @Override
  protected JsonParser _createParser(byte[] data, int offset, int length, IOContext context)
      throws IOException {
    // What starts otherwise may be in another encoding, which Jackson finds out, or wrong.
    return length > 1 && data[offset] == '{' && data[offset + 1] != 0
        ? new Parser(context, _parserFeatures, names, data, offset, offset + length)
        : super._createParser(data, offset, length, context);
  }

  private static final class Parser extends UTF8StreamJsonParser {
    Parser(
        IOContext context,
        int features,
        ByteQuadsCanonicalizer names,
        byte[] data,
        int start,
        int end) {
      super(context, features, null, null, names, data, start, end, 0, false);
    }

    @Override
    protected void _releaseBuffers() {
      _textBuffer.releaseBuffers(); // and the table stays as it is
    }
  }
}
