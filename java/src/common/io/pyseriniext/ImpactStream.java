package io.pyseriniext;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.tokenattributes.BytesTermAttribute;
import org.apache.lucene.analysis.tokenattributes.TermFrequencyAttribute;
import org.apache.lucene.util.BytesRefBuilder;

/**
 * Tokens with their impacts as term frequencies: each is written once, where Anserini repeats it as
 * often as its impact says.
 */
final class ImpactStream extends TokenStream {
  private final BytesTermAttribute term = addAttribute(BytesTermAttribute.class);
  private final TermFrequencyAttribute frequency = addAttribute(TermFrequencyAttribute.class);
  private final BytesRefBuilder bytes = new BytesRefBuilder();
  private String[] tokens;
  private int[] impacts;
  private int count;
  private int next;

  void set(String[] tokens, int[] impacts, int count) {
    this.tokens = tokens;
    this.impacts = impacts;
    this.count = count;
  }

  @Override
  public void reset() {
    next = 0;
  }

  @Override
  public boolean incrementToken() {
    if (next == count) {
      return false;
    }
    clearAttributes();
    bytes.copyChars(tokens[next]);
    term.setBytesRef(bytes.get());
    frequency.setTermFrequency(impacts[next++]);
    return true;
  }
}
